# One network namespace a node, on a bridge in that of the control plane; pods of one node route to those of the others.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

make_network() {
  local control node namespace i other
  control=$(netns_of control)
  ip netns add "$control"
  ip -n "$control" -batch - <<X
link set lo up
link add br0 type bridge
addr add $control_ip/24 dev br0
link set br0 up
X
  nsenter --net="/run/netns/$control" sysctl -qw net.ipv4.ip_forward=1
  for node in $(node_names); do
    namespace=$(netns_of "$node")
    i=$(node_index "$node")
    ip netns add "$namespace"
    ip -n "$control" -batch - <<X
link add v-$node type veth peer name eth0 netns $namespace
link set v-$node master br0 up
route add 10.98.$i.0/24 via $(node_ip "$node")
X
    {
      echo "link set lo up"
      echo "addr add $(node_ip "$node")/24 dev eth0"
      echo "link set eth0 up"
      echo "route add default via $control_ip"
      for other in $(node_names); do
        [[ $node == "$other" ]] || echo "route add 10.98.$(node_index "$other").0/24 via $(node_ip "$other")"
      done
    } | ip -n "$namespace" -batch -
    nsenter --net="/run/netns/$namespace" sysctl -qw net.ipv4.ip_forward=1
  done
}

lab_network_namespaces() { ip netns list 2>/dev/null | awk -v own="^podferry$lab_number-(control|node-[a-i])( |$)" '$0 ~ own {print $1}'; }

remove_network() {
  local namespace pid
  for namespace in $(lab_network_namespaces); do
    # What still runs there are host commands of test/lab/in-control; not the one that asked for this.
    for pid in $(ip netns pids "$namespace" 2>/dev/null); do
      is_ancestor "$pid" || kill -9 "$pid" 2>/dev/null || true
    done
    ip netns delete "$namespace"
  done
}

is_ancestor() { # PID: of this process
  local pid=$$
  while ((pid > 1)); do
    [[ $pid != "$1" ]] || return 0
    pid=$(awk '/^PPid:/{print $2}' "/proc/$pid/status")
  done
  return 1
}
