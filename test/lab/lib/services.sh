# The programs of a node: how each is started, stopped and looked at.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

services_of() { # NODE: in the order in which they start
  if [[ $1 == control ]]; then echo etcd registry kube-apiserver kube-controller-manager kube-scheduler coredns; else echo containerd kubelet kube-proxy; fi
}

# The command line of a service, one word a line, as it stands inside the node.
command_of() { # NODE SERVICE
  local node=$1 pki=/lab/pki
  [[ " $(services_of "$node") " == *" $2 "* ]] || die "$node has no service $2; it has: $(services_of "$node")"
  case $2 in
    etcd) printf '%s\n' etcd --data-dir /var/lib/etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --unsafe-no-fsync --log-level warn ;;
    registry) printf '%s\n' docker-registry serve /lab/registry.yaml ;;
    kube-apiserver) printf '%s\n' kube-apiserver --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range="$service_range" \
      --client-ca-file=$pki/ca.crt --tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key \
      --service-account-key-file=$pki/sa.pub --service-account-signing-key-file=$pki/sa.key --service-account-issuer=https://kubernetes.default.svc \
      --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --kubelet-client-certificate=$pki/kubelet-client.crt \
      --kubelet-client-key=$pki/kubelet-client.key --kubelet-certificate-authority=$pki/ca.crt --kubelet-preferred-address-types=InternalIP \
      --enable-aggregator-routing=true --allow-privileged --advertise-address="$control_ip" --bind-address=0.0.0.0 --event-ttl=2h ;;
    kube-controller-manager) printf '%s\n' kube-controller-manager --kubeconfig=$pki/controller-manager.kubeconfig --service-account-private-key-file=$pki/sa.key \
      --root-ca-file=$pki/ca.crt --use-service-account-credentials --leader-elect=false --cluster-signing-cert-file=$pki/ca.crt --cluster-signing-key-file=$pki/ca.key ;;
    kube-scheduler) printf '%s\n' kube-scheduler --kubeconfig=$pki/scheduler.kubeconfig --leader-elect=false ;;
    coredns) printf '%s\n' coredns -conf /lab/Corefile -dns.port 53 ;;
    containerd) printf '%s\n' containerd -c "/lab/$node/containerd.toml" ;;
    kubelet) printf '%s\n' kubelet "--config=/lab/$node/kubelet.yaml" "--kubeconfig=$pki/$node.kubeconfig" "--hostname-override=$node" "--node-ip=$(node_ip "$node")" --v=2 ;;
    kube-proxy) printf '%s\n' kube-proxy "--config=/lab/$node/proxy.yaml" "--hostname-override=$node" ;;
  esac
}

# In the node, for service_runs and signal_service: is this number still that of the program?
# shellcheck disable=SC2016
service_script='
runs() {
  read -r pid 2>/dev/null <"/run/lab/$1.pid" && read -r -d "" program 2>/dev/null <"/proc/$pid/cmdline" && [[ ${program##*/} == "$2" ]]
}
'
program_of() { command_of "$1" "$2" | sed -n 1p; }

service_runs() { # NODE SERVICE
  inside "$1" bash -c "$service_script"'runs "$@"' _ "$2" "$(program_of "$1" "$2")"
}

start_service() { # NODE SERVICE
  local -a command
  mapfile -t command < <(command_of "$1" "$2")
  # What outlives this script: a child of the node's init, in the node's cgroups.
  # shellcheck disable=SC2016
  inside "$1" bash -c "$service_script"'
    log=$1 service=$2 program=$3
    shift 2
    if runs "$service" "$program"; then exit; fi
    # The kubelet gives up when its runtime does not answer yet; the socket alone may be that of one that was killed.
    if [[ $service == kubelet ]]; then
      for _ in {1..100}; do timeout 2 ctr version >/dev/null 2>&1 && break; sleep 0.1; done
    fi
    for group in $(</run/lab/cgroups); do echo $$ >"$group/cgroup.procs"; done
    ulimit -n "$(ulimit -H -n)"
    # The kernel allows a user 128 inotify instances on the whole machine, and CRIU needs one: what need not be root is not.
    as_user=()
    case $service in kube-apiserver | kube-controller-manager) as_user=(setpriv --reuid 1000 --inh-caps +dac_override --ambient-caps +dac_override) ;; esac
    (echo $BASHPID >"/run/lab/$service.pid"; exec setsid "${as_user[@]}" "$@") >>"$log" 2>&1 </dev/null &' \
    _ "/lab/logs/$1-$2.log" "$2" "${command[@]}"
}

signal_service() { # NODE SERVICE SIGNAL: to the process alone; waits until it is gone
  # The API server waits a minute for its watchers; a service that does not end by itself is killed.
  # shellcheck disable=SC2016
  inside "$1" bash -c "$service_script"'
    runs "$1" "$2" || exit 0
    kill "-$3" "$pid"
    for _ in {1..200}; do runs "$1" "$2" || exit 0; sleep 0.05; done
    kill -KILL "$pid"
    while runs "$1" "$2"; do sleep 0.05; done' _ "$2" "$(program_of "$1" "$2")" "$3"
}
