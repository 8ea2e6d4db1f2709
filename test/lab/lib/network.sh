# One network namespace a node, on a bridge in that of the control plane; pods of one node route to those of the others.
# shellcheck shell=bash

make_network() {
  local control node i other
  control=$(netns_of control)
  ip netns add "$control"
  ip -n "$control" link set lo up
  ip -n "$control" link add br0 type bridge
  ip -n "$control" addr add $control_ip/24 dev br0
  ip -n "$control" link set br0 up
  ip netns exec "$control" sysctl -qw net.ipv4.ip_forward=1
  for node in $(node_names); do
    i=$(node_index "$node")
    ip netns add "$(netns_of "$node")"
    ip -n "$(netns_of "$node")" link set lo up
    ip -n "$control" link add "v-$node" type veth peer name eth0 netns "$(netns_of "$node")"
    ip -n "$control" link set "v-$node" master br0 up
    ip -n "$(netns_of "$node")" addr add "$(node_ip "$node")/24" dev eth0
    ip -n "$(netns_of "$node")" link set eth0 up
    ip -n "$(netns_of "$node")" route add default via $control_ip
    ip -n "$control" route add "10.98.$i.0/24" via "$(node_ip "$node")"
    ip netns exec "$(netns_of "$node")" sysctl -qw net.ipv4.ip_forward=1
    ip netns exec "$(netns_of "$node")" sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
  done
  for node in $(node_names); do
    for other in $(node_names); do
      [[ $node == "$other" ]] || ip -n "$(netns_of "$node")" route add "10.98.$(node_index "$other").0/24" via "$(node_ip "$other")"
    done
  done
}

remove_network() {
  local namespace pids
  for namespace in $(ip netns list 2>/dev/null | awk '/^podferry-/{print $1}'); do
    pids=$(ip netns pids "$namespace" 2>/dev/null || true)
    # shellcheck disable=SC2086
    [[ -z $pids ]] || kill -9 $pids 2>/dev/null || true
    ip netns delete "$namespace" || true
  done
}
