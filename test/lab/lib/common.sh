# Sourced by every script of the lab: where things lie, how progress is told, how a failure reads.
# shellcheck shell=bash
# The variables are for those who source this file.
# shellcheck disable=SC2034
set -euo pipefail
umask 022

lab_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project_dir=$(cd "$lab_dir/../.." && pwd)
# What is expensive to make, keyed by content; shared by all checkouts of this machine.
cache_dir=$(realpath -m "${PODFERRY_CACHE:-/var/cache/podferry}")
# Another lab beside the first: PODFERRY_LAB_NUMBER=2. Names of network namespaces and cgroups are the machine's, and so is the lock.
lab_number=${PODFERRY_LAB_NUMBER:-}
# Where this lab lies, running or not.
state_dir=$(realpath -m "${PODFERRY_LAB:-/var/lib/podferry-lab$lab_number}")
lock_file=/run/lock/podferry-lab$lab_number

registry=registry.podferry.test:5000
pause_image=$registry/pause:3.10
control_ip=10.99.0.1
service_range=10.96.0.0/16
dns_ip=10.96.0.10
letters=(a b c d e f g h i)

say() { printf '%s\n' "lab: $*" >&2; }
die() { say "$@"; exit 1; }
need_root() { ((EUID == 0)) || die "must run as root: the nodes are made of namespaces, mounts and cgroups"; }
need_lab() { need_root; [[ -e $state_dir/complete ]] || die "the lab is not up; start it with: make lab"; }
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" | grep -v '^shellcheck'; }

# One change of the lab at a time: starts the script again with its ARGUMENTS under the lock. `flock` holds it alone, so
# that nothing the script started keeps it after a crash; and the script ends when `flock` is killed.
take_lock() { # ARGUMENTS...
  [[ -z ${PODFERRY_LAB_LOCKED:-} ]] || return 0
  mkdir -p "$(dirname "$lock_file")"
  flock -n "$lock_file" true || die "another make lab or make lab-down is under way"
  local other
  other=$(<"$lock_file")
  [[ ! -d $other || $other == "$state_dir" ]] || die "this machine's lab lies in $other; take that down first with: PODFERRY_LAB=$other make lab-down"
  PODFERRY_LAB_LOCKED=1 exec flock -n -o "$lock_file" setpriv --pdeathsig KILL "$0" "$@"
}

# progress WORDS COMMAND...: runs a long command quietly and says now and then that it still runs; its output on failure.
progress() {
  local words=$1 log began=$SECONDS next=20 pid status=0
  shift
  log=$(mktemp)
  say "$words"
  "$@" >"$log" 2>&1 &
  pid=$!
  # shellcheck disable=SC2064
  trap "kill $pid 2>/dev/null; rm -f '$log'" EXIT
  while kill -0 $pid 2>/dev/null; do
    sleep 0.1
    if ((SECONDS - began >= next)); then say "$words … $next s"; next=$((next + 20)); fi
  done
  wait $pid || status=$?
  trap - EXIT
  ((status == 0)) || tail -n 30 "$log" >&2
  rm -f "$log"
  ((status == 0)) || die "failed: $words"
  say "$words: done in $((SECONDS - began)) s"
}

# For `progress`: a command that ends, with all that it started and mounted, when this script does, even by kill -9.
isolated() { exec setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc "$@"; }

node_index() { # node-a → 1
  local i
  for i in "${!letters[@]}"; do [[ node-${letters[$i]} == "$1" ]] && { echo $((i + 1)); return; }; done
  die "there is no node $1"
}
node_ip() { if [[ $1 == control ]]; then echo $control_ip; else echo "10.99.0.$((10 + $(node_index "$1")))"; fi; }
netns_of() { echo "podferry$lab_number-$1"; }
node_names() { cat "$state_dir/nodes" 2>/dev/null || true; }

is_up() { # NODE: its namespaces live. The cgroup tells its init from a later process with the same number.
  local pid
  pid=$(cat "$state_dir/$1/init.pid" 2>/dev/null) || return 1
  grep -Eqs "/podferry-lab$lab_number-$1(/init)?\$" "/proc/$pid/cgroup"
}

need_node() {
  [[ -e $state_dir/nodes ]] || die "the lab is not up; start it with: make lab"
  [[ $1 == control ]] || grep -qx -- "$1" "$state_dir/nodes" || die "there is no node $1; there are control $(node_names | tr '\n' ' ')"
  is_up "$1" || die "$1 is not up; start the lab with: make lab"
}

# enter NODE: sets `entering` to the command before a command that is to run in all namespaces of the node; what is run
# so ends with its caller.
enter() {
  need_node "$1"
  entering=(nsenter -t "$(<"$state_dir/$1/init.pid")" -m -u -i -n -p -C env -i
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/kubernetes HOME=/root TERM="${TERM:-dumb}"
    setpriv --pdeathsig KILL)
}

inside() { # NODE COMMAND...
  local entering
  enter "$1"
  "${entering[@]}" "${@:2}"
}

# The host's file system and processes, the control plane's network.
in_control() { nsenter --net="/run/netns/$(netns_of control)" "$@"; }
host_kubectl() { in_control "$state_dir/binaries/kubectl" --kubeconfig="$state_dir/pki/admin.kubeconfig" "$@"; }
