# Configuration files of the control plane's and the nodes' programs.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

write_hosts() {
  {
    echo "127.0.0.1 localhost"
    echo "$control_ip control ${registry%:*}"
    local node
    for node in $(node_names); do echo "$(node_ip "$node") $node"; done
  } >"$state_dir/hosts"
}

write_control_config() {
  cat >"$state_dir/registry.yaml" <<X
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: /lab/registry}, delete: {enabled: true}}
auth: {htpasswd: {realm: podferry-lab, path: /lab/pki/registry.htpasswd}}
http: {addr: ":${registry##*:}", tls: {certificate: /lab/pki/registry.crt, key: /lab/pki/registry.key}}
X
  cat >"$state_dir/Corefile" <<X
.:53 {
  errors
  health $control_ip:8080
  ready $control_ip:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig /lab/pki/coredns.kubeconfig
    pods insecure
  }
  cache 5
}
X
}

write_node_config() { # NODE
  local node=$1 directory=$state_dir/$1 i
  i=$(node_index "$node")
  mkdir -p "$directory/cni" "$directory/manifests" "$state_dir/certs.d/$registry"
  cat >"$state_dir/certs.d/$registry/hosts.toml" <<X
server = "https://$registry"
[host."https://$registry"]
  capabilities = ["pull", "resolve"]
  ca = "/lab/pki/ca.crt"
X
  cat >"$directory/containerd.toml" <<X
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "$pause_image"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "/lab/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
  # These machines lack CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "/lab/$node/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "/usr/sbin/runc"
      SystemdCgroup = false
X
  # Routed, not bridged: on a bridge a service's answer from the same node needs the br_netfilter module.
  cat >"$directory/cni/10-lab.conflist" <<X
{"cniVersion":"1.0.0","name":"lab","plugins":[
  {"type":"ptp","ipMasq":false,
   "ipam":{"type":"host-local","ranges":[[{"subnet":"10.98.$i.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
  {"type":"portmap","capabilities":{"portMappings":true}}]}
X
  cat >"$directory/kubelet.yaml" <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /lab/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: /lab/pki/$node-serving.crt
tlsPrivateKeyFile: /lab/pki/$node-serving.key
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
staticPodPath: /lab/$node/manifests
clusterDNS: [$dns_ip]
clusterDomain: cluster.local
nodeStatusUpdateFrequency: 4s
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
# The device of the root file system is not in a node's mount table.
localStorageCapacityIsolation: false
resolvConf: /dev/null
X
  cat >"$directory/proxy.yaml" <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: /lab/pki/proxy.kubeconfig}
clusterCIDR: 10.98.0.0/16
conntrack: {maxPerCore: 0, min: 0}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
X
}
