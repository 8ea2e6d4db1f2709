# Images of one layer, made from a directory or a tar without a builder.
# shellcheck shell=bash

# oci_layout OUT NAME:TAG DIR-or-TAR CONFIG-JSON: an OCI image layout with one uncompressed layer
oci_layout() {
  local out=$1 name=$2 from=$3 config=$4 layer digest size config_digest manifest manifest_digest
  mkdir -p "$out/blobs/sha256"
  layer=$out/layer.tar
  if [[ -d $from ]]; then tar --numeric-owner --xattrs -C "$from" -cf "$layer" .; else cp "$from" "$layer"; fi
  digest=$(sha256sum "$layer" | cut -d' ' -f1)
  size=$(stat -c %s "$layer")
  mv "$layer" "$out/blobs/sha256/$digest"
  jq -cn --argjson config "$config" --arg diff "sha256:$digest" \
    '{architecture: "amd64", os: "linux", config: $config, rootfs: {type: "layers", diff_ids: [$diff]}}' >"$out/config"
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

# The sandbox image goes straight into each node's store: the runtime pulls it without credentials, the registry wants some.
preload_pause() { # NODE
  local work
  work=$(mktemp -d)
  mkdir "$work/root"
  cp "$(kubernetes_bin)/pause" "$work/root/pause"
  oci_layout "$work/oci" "$pause_image" "$work/root" '{"Entrypoint":["/pause"],"User":"65535:65535"}'
  tar -C "$work/oci" -cf "$state_dir/$1/pause.tar" .
  for _ in $(seq 100); do inside "$1" ctr version >/dev/null 2>&1 && break; sleep 0.1; done
  inside "$1" ctr -n k8s.io images import --label io.cri-containerd.pinned=pinned "/lab/$1/pause.tar" >/dev/null
  inside "$1" ctr -n k8s.io images label "$pause_image" io.cri-containerd.image=managed io.cri-containerd.pinned=pinned >/dev/null
  rm -rf "$work" "$state_dir/$1/pause.tar"
}

push_layout() { # OCI-DIRECTORY NAME:TAG  (the directory has to lie below the state directory)
  inside control skopeo copy --quiet --insecure-policy --dest-cert-dir /lab/registry-ca --dest-authfile /lab/pki/registry-auth.json \
    "oci:/lab/${1#"$state_dir"/}" "docker://$registry/$2"
}
