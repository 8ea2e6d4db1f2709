# The programs of a node: how each is started, stopped and looked at.
# shellcheck shell=bash

services_of() { if [[ $1 == control ]]; then echo etcd registry kube-apiserver kube-controller-manager kube-scheduler coredns; else echo containerd kubelet kube-proxy; fi; }

# The command line of a service, one word a line, as it stands inside the node.
command_of() { # NODE SERVICE
  local node=$1 pki=/lab/pki
  case $2 in
    etcd) printf '%s\n' etcd --data-dir /var/lib/etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --unsafe-no-fsync --log-level warn ;;
    registry) printf '%s\n' docker-registry serve /lab/registry.yaml ;;
    kube-apiserver) printf '%s\n' kube-apiserver --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=$service_range \
      --client-ca-file=$pki/ca.crt --tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key \
      --service-account-key-file=$pki/sa.pub --service-account-signing-key-file=$pki/sa.key --service-account-issuer=https://kubernetes.default.svc \
      --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --kubelet-client-certificate=$pki/kubelet-client.crt \
      --kubelet-client-key=$pki/kubelet-client.key --kubelet-certificate-authority=$pki/ca.crt --kubelet-preferred-address-types=InternalIP \
      --enable-aggregator-routing=true --allow-privileged --advertise-address=$control_ip --bind-address=0.0.0.0 --event-ttl=2h ;;
    kube-controller-manager) printf '%s\n' kube-controller-manager --kubeconfig=$pki/controller-manager.kubeconfig --service-account-private-key-file=$pki/sa.key \
      --root-ca-file=$pki/ca.crt --use-service-account-credentials --leader-elect=false --cluster-signing-cert-file=$pki/ca.crt --cluster-signing-key-file=$pki/ca.key ;;
    kube-scheduler) printf '%s\n' kube-scheduler --kubeconfig=$pki/scheduler.kubeconfig --leader-elect=false ;;
    coredns) printf '%s\n' coredns -conf /lab/Corefile -dns.port 53 ;;
    containerd) printf '%s\n' containerd -c "/lab/$node/containerd.toml" ;;
    kubelet) printf '%s\n' kubelet "--config=/lab/$node/kubelet.yaml" "--kubeconfig=$pki/$node.kubeconfig" "--hostname-override=$node" "--node-ip=$(node_ip "$node")" --v=2 ;;
    kube-proxy) printf '%s\n' kube-proxy "--config=/lab/$node/proxy.yaml" "--hostname-override=$node" ;;
    *) die "$node has no service $2; it has: $(services_of "$node")" ;;
  esac
}

service_pid() { inside "$1" cat "/run/lab/$2.pid" 2>/dev/null || true; }

service_runs() {
  local pid
  pid=$(service_pid "$1" "$2")
  [[ -n $pid ]] && inside "$1" test -d "/proc/$pid" && ! inside "$1" grep -q '^State:.*Z' "/proc/$pid/status"
}

start_service() { # NODE SERVICE
  local -a command
  mapfile -t command < <(command_of "$1" "$2")
  [[ $1 != control && $2 == kubelet ]] && start_service_wait "$1"
  service_runs "$1" "$2" && return
  # shellcheck disable=SC2016
  inside "$1" setsid bash -c '
    log=$1 pidfile=$2; shift 2
    for group in /sys/fs/cgroup/*/; do echo $$ >"$group/cgroup.procs"; done
    (echo $BASHPID >"$pidfile"; exec "$@") >>"$log" 2>&1 </dev/null & exit' _ "/lab/logs/$1-$2.log" "/run/lab/$2.pid" "${command[@]}" 9>&-
}

# The kubelet gives up when its runtime is not there yet.
start_service_wait() {
  for _ in $(seq 100); do
    inside "$1" test -S /run/containerd/containerd.sock && return
    sleep 0.1
  done
}

signal_service() { # NODE SERVICE SIGNAL: and wait until it is gone
  local pid
  service_runs "$1" "$2" || return 0
  pid=$(service_pid "$1" "$2")
  inside "$1" kill "-$3" "$pid" 2>/dev/null || true
  for _ in $(seq 300); do
    service_runs "$1" "$2" || return 0
    sleep 0.1
  done
  die "$2 on $1 does not end"
}
