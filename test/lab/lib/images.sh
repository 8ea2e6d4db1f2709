# Images of one layer, made from a directory or a tar without a builder.
# shellcheck shell=bash
# The variables are those of common.sh.
# shellcheck disable=SC2154

# oci_layout OUT NAME:TAG DIR-or-TAR CONFIG-JSON: an OCI image layout with one uncompressed layer
oci_layout() {
  local out=$1 name=$2 from=$3 config=$4 layer digest size config_digest manifest manifest_digest architecture
  case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) architecture=$(uname -m) ;; esac
  mkdir -p "$out/blobs/sha256"
  layer=$out/layer.tar
  if [[ -d $from ]]; then tar --numeric-owner --xattrs --sort=name -C "$from" -cf "$layer" .; else cp "$from" "$layer"; fi
  digest=$(sha256sum "$layer" | cut -d' ' -f1)
  size=$(stat -c %s "$layer")
  mv "$layer" "$out/blobs/sha256/$digest"
  jq -cn --argjson config "$config" --arg diff "sha256:$digest" --arg architecture "$architecture" \
    '{architecture: $architecture, os: "linux", config: $config, rootfs: {type: "layers", diff_ids: [$diff]}}' >"$out/config"
  config_digest=$(sha256sum "$out/config" | cut -d' ' -f1)
  manifest=$(jq -cn --arg config "sha256:$config_digest" --argjson configSize "$(stat -c %s "$out/config")" --arg layer "sha256:$digest" --argjson size "$size" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $configSize},
      layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $layer, size: $size}]}')
  mv "$out/config" "$out/blobs/sha256/$config_digest"
  manifest_digest=$(printf '%s' "$manifest" | sha256sum | cut -d' ' -f1)
  printf '%s' "$manifest" >"$out/blobs/sha256/$manifest_digest"
  jq -cn --arg digest "sha256:$manifest_digest" --argjson size ${#manifest} --arg name "$name" \
    '{schemaVersion: 2, manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size,
      annotations: {"org.opencontainers.image.ref.name": $name, "io.containerd.image.name": $name}}]}' >"$out/index.json"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$out/oci-layout"
}

# The image of pod sandboxes; the same for all nodes.
make_pause() {
  local work=$state_dir/pause
  mkdir -p "$work/root"
  cp "$state_dir/binaries/pause" "$work/root/pause"
  oci_layout "$work/oci" "$pause_image" "$work/root" '{"Entrypoint":["/pause"],"User":"65535:65535"}'
  tar -C "$work/oci" -cf "$state_dir/pause.tar" .
  rm -rf "$work"
}

# It goes straight into each node's store: the runtime pulls it without credentials, the registry wants some.
preload_pause() { # NODE
  # shellcheck disable=SC2016
  inside "$1" sh -ec '
    until ctr version >/dev/null 2>&1; do sleep 0.05; done
    ctr -n k8s.io images import --label io.cri-containerd.pinned=pinned /lab/pause.tar
    ctr -n k8s.io images label "$1" io.cri-containerd.image=managed io.cri-containerd.pinned=pinned' _ "$pause_image" >/dev/null
}

push_layout() { # OCI-DIRECTORY NAME:TAG  (the directory has to lie below the state directory)
  inside control skopeo copy --quiet --insecure-policy --dest-cert-dir /lab/registry-ca --dest-authfile /lab/pki/registry-auth.json \
    "oci:/lab/${1#"$state_dir"/}" "docker://$registry/$2"
}
