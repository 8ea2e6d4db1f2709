import { Readable } from 'node:stream';
import type { Slots } from '../util/slots.ts';
import type { BlobStore } from './blob-store.ts';
import { blobOfManifest, type Chunk, digestsIn, imageOfManifest, tagOf } from './chunks.ts';
import { ImageError } from './errors.ts';
import { maxManifestBytes } from './media-types.ts';
import { contentOfFrames } from './page-frames.ts';
import { persistently } from './persistently.ts';
import { readLimited } from './read-limited.ts';
import type { Manifest, RegistryClient } from './registry-client.ts';

/** Chunks of one blob that are asked for at the same time. */
const atOnce = 4;

interface From {
  client: RegistryClient;
  repository: string;
  reference: string;
}

interface FetchOptions {
  signal: AbortSignal;
  /** Chunks in memory, of everything that this process sends or fetches this way. */
  slots: Slots;
}

/**
 * Fetches an image that lies in a registry in chunks (`chunks.ts`) into a blob store, and whatever else lies there for it (its
 * memory): every chunk and every blob verified by its digest, the manifest last, so that its presence means that all is here.
 * Blobs that the store has are not fetched again.
 *
 * @returns digest of the image's manifest
 * @throws ImageError `not-found`, `digest-mismatch`, `protocol`, `no-space` and those of the client
 */
export async function fetchChunked(from: From, store: BlobStore, options: FetchOptions): Promise<string> {
  const { client, repository, reference } = from;
  const { signal } = options;
  const where = `registry ${client.origin}, ${repository}, ${reference}`;
  const manifest = await client.getManifest(repository, reference, { signal });
  if (!manifest) throw new ImageError('not-found', `${where}: there is no such image`);
  const { image, config } = imageOfManifest(manifest, where);
  const document = await smallBlob(from, image.digest, signal);
  const digests = digestsIn(await client.listTags(repository, { signal }));
  const missing = layersOf(document, where).find((digest) => !digests.includes(digest));
  if (missing) throw new ImageError('not-found', `${where}: of blob ${missing} nothing is there`);
  for (const digest of digests) await fetchBlob(from, digest, store, options);
  await store.writeExpected(Readable.from([await smallBlob(from, config.digest, signal)]), { digest: config.digest, size: config.size });
  await store.writeExpected(Readable.from([document]), { digest: image.digest });
  return image.digest;
}

/**
 * Removes every manifest of a repository, also of blobs without an image. What no manifest names goes with the registry's garbage
 * collection.
 *
 * @throws ImageError of the first that could not be removed; all have been tried
 */
export async function removeAll(client: RegistryClient, repository: string, signal: AbortSignal): Promise<void> {
  let failure: { error: unknown } | undefined;
  for (const tag of await client.listTags(repository, { signal })) {
    try {
      const manifest = await client.getManifest(repository, tag, { signal });
      if (manifest) await client.deleteManifest(repository, manifest.digest, { signal });
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure) throw failure.error;
}

async function fetchBlob({ client, repository }: From, digest: string, store: BlobStore, options: FetchOptions): Promise<void> {
  const where = `registry ${client.origin}, ${repository}, ${tagOf(digest)}`;
  const manifest: Manifest | undefined = await client.getManifest(repository, tagOf(digest), { signal: options.signal });
  if (!manifest) throw new ImageError('not-found', `${where}: it went while it was fetched`);
  const { size, crc32, chunks } = blobOfManifest(manifest, digest, where);
  if ((await store.stat(digest))?.size === size) return;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const upload = await store.createUpload();
  const ahead: Promise<Held>[] = [];
  try {
    const left = chunks.values();
    for (;;) {
      while (ahead.length < atOnce) {
        const next = left.next();
        if (next.done) break;
        const held = hold(client, repository, next.value, { ...options, signal });
        held.catch(() => undefined);
        ahead.push(held);
      }
      const first = ahead.shift();
      if (!first) break;
      const { chunk, content, release } = await first;
      try {
        await upload.append(Readable.from([content]), { signal, decode: (batches) => contentOfFrames(batches, chunk.length) });
      } finally {
        release();
      }
    }
    await upload.commit({ digest, size, ...(Number.isSafeInteger(crc32) && { crc32 }) });
  } catch (error) {
    stop.abort(error);
    for (const held of await Promise.allSettled(ahead)) if (held.status === 'fulfilled') held.value.release();
    await upload.abort();
    throw error;
  }
}

interface Held {
  chunk: Chunk;
  content: Buffer;
  release: () => void;
}

/** A chunk in memory. */
async function hold(client: RegistryClient, repository: string, chunk: Chunk, { slots, signal }: FetchOptions): Promise<Held> {
  const release = await slots.take(signal);
  try {
    const content = await persistently(['unreachable'], signal, async () => {
      const { stream } = await client.getBlob(repository, chunk.digest, { signal });
      return readLimited(stream, chunk.size);
    });
    if (content?.length !== chunk.size)
      throw new ImageError('protocol', `registry ${client.origin}, ${repository}: chunk ${chunk.digest} is not of ${chunk.size} bytes`);
    return { chunk, content, release };
  } catch (error) {
    release();
    throw error;
  }
}

async function smallBlob({ client, repository }: From, digest: string, signal: AbortSignal): Promise<Buffer> {
  const { stream } = await client.getBlob(repository, digest, { signal });
  const content = await readLimited(stream, maxManifestBytes);
  if (!content)
    throw new ImageError('too-large', `registry ${client.origin}, ${repository}: ${digest} is larger than ${maxManifestBytes} bytes`);
  return content;
}

/** What an image's manifest names. */
function layersOf(document: Buffer, where: string): string[] {
  try {
    const { layers } = JSON.parse(document.toString('utf8')) as { layers: { digest: string }[] };
    return layers.map(({ digest }) => digest);
  } catch (error) {
    throw new ImageError('protocol', `${where}: it holds no manifest of an image`, { cause: error });
  }
}
