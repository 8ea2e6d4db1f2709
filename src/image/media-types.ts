/** Media types of the OCI image specification v1.1 (media-types.md), and Docker's of the same meaning. */
export const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
} as const;

/** What a client that takes any manifest sends as `Accept`. */
export const acceptManifests = [mediaTypes.manifest, mediaTypes.index, mediaTypes.dockerManifest, mediaTypes.dockerList].join(', ');

/**
 * Annotations of a manifest that make a runtime restore instead of start; the value is the container's name.
 * containerd: crmetadata.CheckpointAnnotationName, read in internal/cri/server/container_checkpoint_linux.go
 * (checkIfCheckpointOCIImage). CRI-O: its own name for the same.
 */
export const checkpointAnnotations = {
  containerd: 'org.criu.checkpoint.container.name',
  crio: 'io.kubernetes.cri-o.annotations.checkpoint.name',
} as const;

/** Limit for manifests and configs, which are held in memory. Bytes; the distribution specification asks registries for at least 4 MiB. */
export const maxManifestBytes = 4 * 1024 * 1024;
