# A node: a Debian root on an overlay, in mount, pid, uts, ipc, cgroup and network namespaces of its own.
# shellcheck shell=bash

# The lab's cgroup in every hierarchy that this process is in; one line a hierarchy: NAME DIRECTORY
cgroup_bases() {
  local controllers path name
  while IFS=: read -r _ controllers path; do
    [[ -n $controllers ]] || continue
    name=${controllers#name=}
    [[ -d /sys/fs/cgroup/$name$path ]] && echo "$name ${path%/}"
  done </proc/self/cgroup
}

start_node() { # NODE: its namespaces and an init that reaps
  local node=$1 work=$state_dir/$1 name path group
  mkdir -p "$work"/{upper,work,root,containerd,kubelet,etcd,containers,podferry,logs}
  (
    while read -r name path; do
      group=/sys/fs/cgroup/$name$path/podferry-lab-$node
      mkdir -p "$group"
      if [[ $name == cpuset ]]; then
        cat "/sys/fs/cgroup/$name$path/cpuset.cpus" >"$group/cpuset.cpus"
        cat "/sys/fs/cgroup/$name$path/cpuset.mems" >"$group/cpuset.mems"
        echo 1 >"$group/cgroup.clone_children"
      fi
      echo "$BASHPID" >"$group/cgroup.procs"
    done < <(cgroup_bases)
    exec 9>&-
    root=$(node_root) bin=$(kubernetes_bin)
    export node work root bin state_dir lab_dir
    exec setsid ip netns exec "$(netns_of "$node")" unshare -m -u -C -p -i -f --kill-child=KILL --propagation private \
      bash "$lab_dir/lib/init" >"$state_dir/logs/$node-init.log" 2>&1 </dev/null
  ) &
  local began=$SECONDS
  rm -f "$work/ready"
  while [[ ! -e $work/ready ]]; do
    ((SECONDS - began < 20)) || { cat "$state_dir/logs/$node-init.log" >&2; die "the namespaces of $node did not come up"; }
    sleep 0.05
  done
  # The init is the one process in whose pid namespace it is number 1.
  pgrep -f "podferry-lab-init $node\$" | head -n 1 >"$work/init.pid"
}

kill_node() { # NODE: everything in its pid namespace goes with its init
  local pid
  pid=$(init_pid "$1")
  if [[ -n $pid ]] && is_up "$1"; then
    kill -9 "$pid" 2>/dev/null || true
    while [[ -d /proc/$pid ]]; do sleep 0.05; done
  fi
  # An init whose number was never written down (a Ctrl-C in between).
  pkill -9 -f "podferry-lab-init $1\$" 2>/dev/null || true
}

remove_cgroups() {
  local name path group
  while read -r name path; do
    for group in "/sys/fs/cgroup/$name$path"/podferry-lab-*; do
      [[ -d $group ]] || continue
      find "$group" -depth -type d -exec sh -c 'for d; do for p in $(cat "$d/cgroup.procs" 2>/dev/null); do kill -9 $p 2>/dev/null; done; done' _ {} + || true
      for _ in 1 2 3 4 5 6 7 8 9 10; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [[ -d $group ]] || break
        sleep 0.2
      done
    done
  done < <(cgroup_bases)
}
