import type { Readable } from 'node:stream';
import type { BlobInfo } from './blob.ts';
import type { ImageSender } from './chunked-upload.ts';
import { checkpointAnnotations, mediaTypes } from './media-types.ts';
import type { TransferOptions } from './registry-client.ts';

export interface PushCheckpointOptions extends TransferOptions {
  repository: string;
  tag: string;
  /** Kubernetes' name of the container; the value of both annotations. */
  containerName: string;
  /** The archive's tar, uncompressed. If it fails, so does the push, with that error. */
  archive: Readable;
  /** More annotations for the manifest. */
  annotations?: Record<string, string>;
}

export interface PushedCheckpoint {
  manifestDigest: string;
  /** Also the layer's diff id: it is not compressed. */
  layerDigest: string;
  layerBytes: number;
  configDigest: string;
}

/** Go's names for architectures (image-spec config.md, `architecture`), from Node.js's. */
const architectures: Record<string, string> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', mipsel: 'mipsle' };

/** The OCI config of an image with this one layer, for this machine's platform. */
export function checkpointConfig(layerDigest: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      architecture: architectures[process.arch] ?? process.arch,
      os: process.platform,
      config: {},
      rootfs: { type: 'layers', diff_ids: [layerDigest] },
      history: [{ created_by: 'podferry checkpoint' }],
    }),
  );
}

/** The OCI manifest that makes containerd and CRI-O restore from it (see `checkpointAnnotations`). */
export function checkpointManifest(
  config: BlobInfo,
  layer: BlobInfo,
  containerName: string,
  annotations: Record<string, string> = {},
): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: { mediaType: mediaTypes.config, digest: config.digest, size: config.size },
      layers: [{ mediaType: mediaTypes.layer, digest: layer.digest, size: layer.size }],
      annotations: { ...annotations, [checkpointAnnotations.containerd]: containerName, [checkpointAnnotations.crio]: containerName },
    }),
  );
}

/**
 * Pushes a checkpoint archive as an image: one uncompressed layer with the archive's content, streamed in one pass (no
 * temporary copy, bounded memory), then config and manifest. Only the manifest makes the image exist; on failure nothing
 * is left but, perhaps, a blob that the registry collects.
 * @throws ImageError, or what the archive's stream failed with
 */
export async function pushCheckpointImage(client: ImageSender, options: PushCheckpointOptions): Promise<PushedCheckpoint> {
  const { repository, tag, containerName, archive, annotations, signal, onProgress } = options;
  const call = { ...(signal && { signal }) };
  let uploadingConfig: Promise<BlobInfo> | undefined;
  const uploadConfig = ({ digest }: BlobInfo) => {
    uploadingConfig ??= client.putBlob(repository, checkpointConfig(digest), call);
    uploadingConfig.catch(() => undefined);
    return uploadingConfig;
  };
  const layer = await client.uploadBlob(repository, archive, { ...call, onDigest: uploadConfig, ...(onProgress && { onProgress }) });
  const config = await uploadConfig(layer);
  const manifest = checkpointManifest(config, layer, containerName, annotations);
  const manifestDigest = await client.putManifest(repository, tag, manifest, mediaTypes.manifest, call);
  return { manifestDigest, layerDigest: layer.digest, layerBytes: layer.size, configDigest: config.digest };
}
