# The lab's certificates: one CA that signs the API server, the kubelets and the registry. Private to the state directory.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

sign() { # NAME SUBJECT SAN USAGE
  local extensions="basicConstraints=CA:FALSE\nextendedKeyUsage=$4"
  [[ -n $3 ]] && extensions+="\nsubjectAltName=$3"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -days 365 \
    -extfile <(printf '%b\n' "$extensions") -out "$1.crt" 2>/dev/null
  rm -f "$1.csr"
}

kubeconfig() { # NAME
  cat >"$1.kubeconfig" <<X
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://$control_ip:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: lab, context: {cluster: lab, user: $1}}]
current-context: lab
X
}

make_pki() (
  mkdir -m 0700 "$state_dir/pki"
  cd "$state_dir/pki" || exit 1
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout ca.key -out ca.crt -subj /CN=podferry-lab-ca 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  sign apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$control_ip,IP:10.96.0.1" serverAuth
  sign registry "/CN=${registry%:*}" "DNS:${registry%:*},IP:$control_ip" serverAuth
  sign admin /O=system:masters/CN=admin "" clientAuth
  sign controller-manager /CN=system:kube-controller-manager "" clientAuth
  sign scheduler /CN=system:kube-scheduler "" clientAuth
  sign kubelet-client /CN=kube-apiserver-kubelet-client "" clientAuth
  sign coredns /CN=system:coredns "" clientAuth
  sign proxy /CN=system:kube-proxy "" clientAuth
  local node name
  for node in $(node_names); do
    sign "$node" "/O=system:nodes/CN=system:node:$node" "" clientAuth
    sign "$node-serving" "/CN=$node" "DNS:$node,IP:$(node_ip "$node")" serverAuth
  done
  for name in admin controller-manager scheduler coredns proxy $(node_names); do kubeconfig "$name"; done
  # perl's crypt makes the bcrypt that the registry's htpasswd file has to be in.
  openssl rand -hex 16 >registry.password
  # shellcheck disable=SC2016
  printf 'lab:%s\n' "$(perl -e 'print crypt($ARGV[0], "\$2b\$05\$" . substr($ARGV[1], 0, 22))' "$(<registry.password)" "$(openssl rand -hex 11)")" >registry.htpasswd
  docker_config >registry-auth.json
  mkdir -p "$state_dir/registry-ca"
  cp ca.crt "$state_dir/registry-ca/"
  chmod 0600 ./*
)

docker_config() { # dockerconfigjson for the lab's registry
  local password
  password=$(<"$state_dir/pki/registry.password")
  printf '{"auths":{"%s":{"username":"lab","password":"%s","auth":"%s"}}}' "$registry" "$password" "$(printf 'lab:%s' "$password" | base64 -w0)"
}
