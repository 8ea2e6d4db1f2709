import { ImageError } from './errors.ts';
import { mediaTypes } from './media-types.ts';
import { pagesType } from './page-frames.ts';
import { isDigest } from './reference.ts';
import type { Manifest } from './registry-client.ts';

/**
 * How images lie in a registry that others run (transfer Registry): each blob cut into chunks, which are what the registry has as
 * blobs. A manifest of its own, tagged `blob-HEX` by the blob's digest, names them in their order; so whoever finds the
 * tag finds all of it, and nothing has to be remembered elsewhere. An image is a manifest whose config is the image's
 * own manifest as it will be on the destination. Any registry of the distribution specification takes both.
 */

/** Content that a chunk stands for, except the last one of a blob. Bytes. */
export const chunkBytes = 4 * 1024 * 1024;

/** With the heads of frames. Nobody's chunk may be larger: it is held in memory. Bytes. */
const mostChunkBytes = 2 * chunkBytes;

/** Media types and annotations of such manifests. */
const types = {
  chunks: 'application/vnd.podferry.chunks.v1+json',
  image: 'application/vnd.podferry.image.v1+json',
} as const;
const annotations = {
  length: 'podferry.io/length',
  crc32: 'podferry.io/crc32',
  size: 'podferry.io/size',
  digest: 'podferry.io/digest',
} as const;

/** A part of a blob, as the registry has it: frames of pages (`page-frames.ts`). */
export interface Chunk {
  digest: string;
  /** Bytes in the registry, and of content. */
  size: number;
  length: number;
}

export interface CutBlob {
  digest: string;
  /** Bytes. */
  size: number;
  crc32: number;
  chunks: Chunk[];
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}

interface Artifact {
  config: Descriptor;
  layers: Descriptor[];
  annotations?: Record<string, string>;
}

/** Not `sha256-HEX`: that is where the distribution specification keeps referrers ("Referrers Tag Schema"). */
const tagPattern = /^blob-[0-9a-f]{64}$/;

/** Under which a blob's chunks are found. */
export const tagOf = (digest: string) => digest.replace('sha256:', 'blob-');

/** The digests whose chunks are under these tags; other tags are passed over. */
export function digestsIn(tags: readonly string[]): string[] {
  return tags.filter((tag) => tagPattern.test(tag)).map((tag) => tag.replace('blob-', 'sha256:'));
}

/** @param config a blob that is there; a registry wants one */
export function manifestOfBlob({ digest, size, crc32, chunks }: CutBlob, config: { digest: string; size: number }): Buffer {
  return artifact({
    config: { mediaType: types.chunks, ...config },
    layers: chunks.map((chunk) => ({
      mediaType: pagesType,
      digest: chunk.digest,
      size: chunk.size,
      annotations: { [annotations.length]: String(chunk.length) },
    })),
    annotations: { [annotations.digest]: digest, [annotations.size]: String(size), [annotations.crc32]: String(crc32) },
  });
}

/**
 * @param where for the error
 * @throws ImageError `protocol`: it is no such manifest, or not of this blob, or would take more memory than there is to be
 */
export function blobOfManifest(manifest: Manifest, digest: string, where: string): CutBlob {
  const { config, layers, annotations: notes } = artifactOf(manifest, where);
  const fail = (what: string) => new ImageError('protocol', `${where}: ${what}`);
  if (config.mediaType !== types.chunks || notes?.[annotations.digest] !== digest) throw fail('it does not say what it consists of');
  const chunks = layers.map(({ digest: own, size, mediaType, annotations: more }): Chunk => {
    const length = Number(more?.[annotations.length]);
    const possible = Number.isSafeInteger(length) && length > 0 && length <= chunkBytes && size <= mostChunkBytes;
    if (!possible || mediaType !== pagesType)
      throw fail(`chunk ${own} of ${size} bytes, which stands for ${length}, is none of podferry's`);
    return { digest: own, size, length };
  });
  const size = chunks.reduce((sum, { length }) => sum + length, 0);
  if (Number(notes[annotations.size]) !== size) throw fail(`its chunks have ${size} bytes, and it should have ${notes[annotations.size]}`);
  return { digest, size, crc32: Number(notes[annotations.crc32]), chunks };
}

/** @param image its manifest, as it will be on the destination, and the config that it names; both lie in the registry as blobs */
export function manifestOfImage(image: { digest: string; size: number }, config: Descriptor): Buffer {
  return artifact({ config: { mediaType: types.image, digest: image.digest, size: image.size }, layers: [config] });
}

/** The two blobs. @throws ImageError `protocol` */
export function imageOfManifest(manifest: Manifest, where: string): { image: Descriptor; config: Descriptor } {
  const { config: image, layers } = artifactOf(manifest, where);
  const [config] = layers;
  if (image.mediaType !== types.image || !config)
    throw new ImageError('protocol', `${where}: it is no image that podferry has cut into chunks`);
  return { image, config };
}

function artifact({ config, layers, ...more }: Artifact): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers, ...more }));
}

function artifactOf({ body }: Manifest, where: string): Artifact {
  let document: Partial<Artifact>;
  try {
    document = (JSON.parse(body.toString('utf8')) ?? {}) as Partial<Artifact>;
  } catch (error) {
    throw new ImageError('protocol', `${where}: its manifest is not valid JSON`, { cause: error });
  }
  const { config, layers } = document;
  const whole = [config, ...(Array.isArray(layers) ? layers : [undefined])].every(
    (each) =>
      typeof each?.digest === 'string' && isDigest(each.digest) && Number.isSafeInteger(each.size) && typeof each.mediaType === 'string',
  );
  if (!whole) throw new ImageError('protocol', `${where}: a descriptor in its manifest lacks digest, size or media type`);
  return document as Artifact;
}
