# The cgroups of the nodes: one in every hierarchy, below that of whoever starts the lab. They also are the record of
# which processes are the lab's: whatever a node started is in them, also after a crash of the script that started it.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

cgroups=/sys/fs/cgroup
unified() { [[ -e $cgroups/cgroup.controllers ]]; }

# The cgroup, in each hierarchy, in which a node's is made
cgroup_parents() {
  local controllers path name
  if unified; then
    # At the top: a cgroup with processes in it, as ours is, cannot hand controllers down.
    echo "$cgroups"
    return
  fi
  while IFS=: read -r _ controllers path; do
    name=${controllers#name=}
    [[ -n $name && -d $cgroups/$name$path ]] && echo "$cgroups/$name${path%/}"
  done </proc/self/cgroup
  return 0
}

join_cgroups() { # NODE: moves the calling (sub)shell
  local parent group
  for parent in $(cgroup_parents); do
    group=$parent/podferry-lab$lab_number-$1
    mkdir -p "$group"
    if [[ -e $group/cpuset.cpus ]] && ! unified; then
      # A new cpuset is empty, and nothing can run in an empty one.
      cat "$parent/cpuset.cpus" >"$group/cpuset.cpus"
      cat "$parent/cpuset.mems" >"$group/cpuset.mems"
      echo 1 >"$group/cgroup.clone_children"
    fi
    echo "$BASHPID" >"$group/cgroup.procs"
  done
}

lab_cgroups() { find "$cgroups" -type d \( -name "podferry-lab$lab_number-control" -o -name "podferry-lab$lab_number-node-[a-i]" \) -prune 2>/dev/null || true; }

lab_processes() {
  local group
  for group in $(lab_cgroups); do find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done | sort -un
}

kill_lab_processes() {
  local pid pids group
  for _ in $(seq 200); do
    pids=$(lab_processes)
    [[ -n $pids ]] || return 0
    for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
    # A paused container does not even die before it is thawed.
    for group in $(lab_cgroups); do
      find "$group" -name freezer.state -exec sh -c 'for f; do echo THAWED >"$f"; done' _ {} + 2>/dev/null || true
    done
    sleep 0.05
  done
  die "processes of the lab do not end: $pids"
}

remove_cgroups() {
  local group
  for group in $(lab_cgroups); do
    for _ in $(seq 50); do
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [[ -d $group ]] || break
      sleep 0.1
    done
  done
}
