import { Readable } from 'node:stream';
import type { BlobInfo, BlobStore } from './blob-store.ts';
import { ImageError } from './errors.ts';
import { checkpointAnnotations, maxManifestBytes, mediaTypes } from './media-types.ts';
import { isDigest } from './reference.ts';
import type { Manifest, RegistryClient, TransferOptions } from './registry-client.ts';

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
export async function pushCheckpointImage(client: RegistryClient, options: PushCheckpointOptions): Promise<PushedCheckpoint> {
  const { repository, tag, containerName, archive, annotations, signal, onProgress } = options;
  const call = { ...(signal && { signal }) };
  const layer = await client.uploadBlob(repository, archive, { ...call, ...(onProgress && { onProgress }) });
  const config = await client.putBlob(repository, checkpointConfig(layer.digest), call);
  const manifest = checkpointManifest(config, layer, containerName, annotations);
  const manifestDigest = await client.putManifest(repository, tag, manifest, mediaTypes.manifest, call);
  return { manifestDigest, layerDigest: layer.digest, layerBytes: layer.size, configDigest: config.digest };
}

interface Descriptor extends BlobInfo {
  mediaType: string;
}

export interface CopiedImage {
  manifest: Manifest;
  config: BlobInfo;
  layers: BlobInfo[];
  /** The name in the checkpoint annotation; undefined when the image is no checkpoint. */
  containerName: string | undefined;
}

/**
 * Fetches an image (manifest, config, layers) from a registry into a blob store, every digest verified; the manifest is
 * stored as a blob too, last, so that its presence means that all is here. Blobs that the store has are not fetched again.
 * Indexes are refused: a checkpoint image is one manifest.
 * @throws ImageError `not-found`, `digest-mismatch`, `protocol`, `no-space` and those of the client
 */
export async function copyImage(
  from: { client: RegistryClient; repository: string; reference: string },
  to: BlobStore,
  options: TransferOptions = {},
): Promise<CopiedImage> {
  const { client, repository, reference } = from;
  const call = { ...(options.signal && { signal: options.signal }) };
  const where = `registry ${client.origin}, ${repository}, ${reference}`;
  const manifest = await client.getManifest(repository, reference, call);
  if (manifest === undefined) throw new ImageError('not-found', `${where}: there is no such image`);
  const { config, layers, annotations } = readImageManifest(manifest, where);
  let done = 0;
  for (const blob of [config, ...layers]) {
    if ((await to.stat(blob.digest))?.size !== blob.size) {
      const base = done;
      const { stream } = await client.getBlob(repository, blob.digest, {
        ...call,
        onProgress: (bytes) => options.onProgress?.(base + bytes),
      });
      await to.writeExpected(stream, { digest: blob.digest, size: blob.size }, call);
    }
    done += blob.size;
    options.onProgress?.(done);
  }
  await to.writeExpected(Readable.from([manifest.body]), { digest: manifest.digest }, call);
  return {
    manifest,
    config,
    layers,
    containerName: annotations[checkpointAnnotations.containerd] ?? annotations[checkpointAnnotations.crio],
  };
}

function readImageManifest(
  manifest: Manifest,
  where: string,
): { config: Descriptor; layers: Descriptor[]; annotations: Record<string, string> } {
  const fail = (what: string) => new ImageError('protocol', `${where}: ${what}`);
  if (manifest.mediaType !== mediaTypes.manifest && manifest.mediaType !== mediaTypes.dockerManifest) {
    throw fail(`a checkpoint image is a single manifest, this is ${manifest.mediaType}`);
  }
  let document: { config?: unknown; layers?: unknown; annotations?: unknown };
  try {
    document = JSON.parse(manifest.body.toString('utf8')) ?? {};
  } catch (error) {
    throw new ImageError('protocol', `${where}: its manifest is not valid JSON`, { cause: error });
  }
  const descriptor = (value: unknown): Descriptor => {
    const { digest, size, mediaType } = (value ?? {}) as Partial<Descriptor>;
    if (typeof digest !== 'string' || !isDigest(digest) || !Number.isSafeInteger(size) || typeof mediaType !== 'string') {
      throw fail('a descriptor in its manifest lacks digest, size or media type');
    }
    return { digest, size: size as number, mediaType };
  };
  if (!Array.isArray(document.layers)) throw fail('its manifest has no layers');
  const config = descriptor(document.config);
  if (config.size > maxManifestBytes) throw fail(`its config has ${config.size} bytes`);
  const annotations = Object.entries(document.annotations ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  return { config, layers: document.layers.map(descriptor), annotations: Object.fromEntries(annotations) };
}
