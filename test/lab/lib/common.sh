# Sourced by every script of the lab: where things lie, how progress is told, how a failure reads.
# shellcheck shell=bash
set -euo pipefail

lab_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project_dir=$(cd "$lab_dir/../.." && pwd)
# What is expensive to make, keyed by content; shared by all checkouts of this machine.
cache_dir=${PODFERRY_CACHE:-/var/cache/podferry}
# The one lab of this machine, running or not.
state_dir=${PODFERRY_LAB:-/var/lib/podferry-lab}

kubernetes_version=1.36.3
registry=registry.podferry.test:5000
pause_image=$registry/pause:3.10
control_ip=10.99.0.1
service_range=10.96.0.0/16
dns_ip=10.96.0.10
letters=(a b c d e f g h i)

say() { printf '%s\n' "lab: $*" >&2; }
die() { printf '%s\n' "lab: $*" >&2; exit 1; }

# progress WORDS COMMAND...: runs a long command quietly and says now and then that it still runs; its output on failure.
progress() {
  local words=$1 log began=$SECONDS pid
  shift
  log=$(mktemp)
  say "$words"
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 $pid 2>/dev/null; do
    sleep 0.2
    if (( SECONDS - began >= 20 && (SECONDS - began) % 20 == 0 )); then say "$words … $((SECONDS - began)) s"; sleep 1; fi
  done
  if ! wait $pid; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    die "failed: $words"
  fi
  rm -f "$log"
  say "$words: done in $((SECONDS - began)) s"
}

need_root() { [[ $(id -u) == 0 ]] || die "must run as root: the nodes are made of namespaces, mounts and cgroups"; }

node_index() { # node-a → 1
  local name=${1#node-} i
  for i in "${!letters[@]}"; do [[ ${letters[$i]} == "$name" ]] && { echo $((i + 1)); return; }; done
  die "there is no node $1"
}
node_ip() { if [[ $1 == control ]]; then echo $control_ip; else echo "10.99.0.$((10 + $(node_index "$1")))"; fi; }
netns_of() { echo "podferry-$1"; }
node_names() { [[ -f $state_dir/nodes ]] && cat "$state_dir/nodes" || true; }
init_pid() { cat "$state_dir/$1/init.pid" 2>/dev/null || true; }

is_up() { # NODE: its namespaces live
  local pid
  pid=$(init_pid "$1")
  [[ -n $pid && -d /proc/$pid ]] && grep -q "podferry-lab-init" "/proc/$pid/cmdline" 2>/dev/null
}

# inside NODE COMMAND...: runs in all namespaces of the node
inside() {
  local node=$1 pid
  shift
  is_up "$node" || die "$node is not up; start the lab with: make lab"
  pid=$(init_pid "$node")
  nsenter -t "$pid" -m -u -i -n -p -C env -i \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/kubernetes HOME=/root TERM="${TERM:-dumb}" "$@"
}

host_kubectl() { ip netns exec "$(netns_of control)" "$(kubernetes_bin)/kubectl" --kubeconfig="$state_dir/pki/admin.kubeconfig" "$@"; }
