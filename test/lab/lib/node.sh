# A node: a Debian root on an overlay, in mount, pid, uts, ipc, cgroup and network namespaces of its own.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

start_node() { # NODE
  local node=$1 work=$state_dir/$1 pid began=$SECONDS
  mkdir -p "$work"/{upper,work,root}
  (
    join_cgroups "$node"
    export node work state_dir
    exec setsid ip netns exec "$(netns_of "$node")" \
      unshare --mount --uts --cgroup --ipc --pid --fork --kill-child=KILL --propagation private \
      bash "$lab_dir/lib/init" >"$state_dir/logs/$node-init.log" 2>&1 </dev/null
  ) &
  pid=$!
  until [[ -e $work/ready ]]; do
    if [[ ! -d /proc/$pid ]] || ((SECONDS - began >= 20)); then
      cat "$state_dir/logs/$node-init.log" >&2
      die "the namespaces of $node did not come up"
    fi
    sleep 0.02
  done
  # The init is the one child of `unshare`, which is what the subshell has become.
  pgrep -P "$pid" >"$work/init.pid"
}
