import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { Slots } from '../util/slots.ts';
import { AppendedReader, type AppendedSource, type Pace } from './appended.ts';
import type { BlobInfo } from './blob.ts';
import { type Chunk, chunkBytes, manifestOfBlob, manifestOfImage, tagOf } from './chunks.ts';
import { digestOf } from './digest.ts';
import { KnownBlobs } from './known-blobs.ts';
import { LinkRate } from './link-rate.ts';
import { mediaTypes } from './media-types.ts';
import { PageSender } from './page-sender.ts';
import { persistently } from './persistently.ts';
import type { CallOptions, RegistryClient, TransferOptions } from './registry-client.ts';
import { StreamSource } from './stream-source.ts';

/** What sending an image needs of where it goes to. */
export type ImageSender = Pick<RegistryClient, 'uploadBlob' | 'uploadAppended' | 'putBlob' | 'putManifest'>;

/** Chunks in memory at the same time, of everything that this process sends or fetches this way. */
const chunksAtOnce = 4;

/** What all uploads of a process share. */
export class ChunkedTransfers {
  readonly slots = new Slots(chunksAtOnce);
  readonly known = new KnownBlobs();
  readonly link = new LinkRate();
}

/**
 * Sends images to a registry that others run, blobs cut into chunks (`chunks.ts`): several at the same time, none that is
 * there already, and those that this process has sent to another repository mounted from there. Zeros do not travel, and
 * the rest is compressed where that is faster. After a failure the next try sends only what is missing.
 */
export class ChunkedUploader implements ImageSender {
  readonly #client: RegistryClient;
  readonly #shared: ChunkedTransfers;
  /** Chunks on their way, by repository and digest. */
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(client: RegistryClient, shared: ChunkedTransfers) {
    this.#client = client;
    this.#shared = shared;
  }

  /** An error of the source is thrown as it is. @throws ImageError as those of the client */
  async uploadBlob(repository: string, source: Readable, options: TransferOptions = {}): Promise<BlobInfo> {
    const stream = new StreamSource(source);
    try {
      const { digest, size } = await this.uploadAppended(repository, stream, options);
      return { digest, size };
    } finally {
      stream.close();
    }
  }

  /** An error of the source is thrown as it is. @returns `wire`: bytes of chunks. @throws ImageError as those of the client */
  async uploadAppended(
    repository: string,
    source: AppendedSource,
    options: TransferOptions & { pace?: Pace } = {},
  ): Promise<BlobInfo & { crc32: number; wire: number }> {
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    const hash = createHash('sha256');
    const reader = new AppendedReader(hashed(source, hash));
    const { link, slots } = this.#shared;
    const sender = new PageSender(reader, {
      accepts: ['zstd', 'gzip'],
      link,
      pace: options.pace,
      passed: options.onProgress,
      signal,
    });
    const chunks: Promise<Chunk>[] = [];
    let failure: { error: unknown } | undefined;
    const fail = (error: unknown) => {
      failure ??= { error };
      stop.abort(error);
    };
    try {
      for (;;) {
        const length = await wholeChunk(source, reader.position, signal);
        if (length === 0) break;
        const release = await slots.take(signal);
        try {
          const segment = sender.segment(length);
          const content = await contentOf(segment.body);
          const sent = this.#ensure(repository, content, signal).then((digest) => {
            segment.arrived();
            return { digest, size: content.length, length: segment.length };
          });
          sent.catch(fail).finally(release);
          chunks.push(sent);
        } catch (error) {
          release();
          throw error;
        }
      }
    } catch (error) {
      fail(error);
    }
    await Promise.allSettled(chunks);
    if (failure) throw reader.failure?.error ?? failure.error;
    const blob = { digest: `sha256:${hash.digest('hex')}`, size: reader.position, crc32: reader.crc32, chunks: await Promise.all(chunks) };
    const config = await this.putBlob(repository, Buffer.from('{}'), { signal });
    await this.#client.putManifest(repository, tagOf(blob.digest), manifestOfBlob(blob, config), mediaTypes.manifest, { signal });
    return { digest: blob.digest, size: blob.size, crc32: blob.crc32, wire: sender.wire };
  }

  /** Small ones (a config) are not cut. */
  async putBlob(repository: string, content: Buffer, options: CallOptions = {}): Promise<BlobInfo> {
    return { digest: await this.#ensure(repository, content, options.signal), size: content.length };
  }

  /** @returns the digest that the image will have on the destination */
  async putManifest(repository: string, reference: string, body: Buffer, _mediaType: string, options: CallOptions = {}): Promise<string> {
    const image = await this.putBlob(repository, body, options);
    const { config } = JSON.parse(body.toString('utf8')) as { config: { mediaType: string; digest: string; size: number } };
    await this.#client.putManifest(repository, reference, manifestOfImage(image, config), mediaTypes.manifest, options);
    return image.digest;
  }

  /** The same chunk twice at the same time goes once. @returns its digest */
  async #ensure(repository: string, content: Buffer, signal: AbortSignal | undefined): Promise<string> {
    const digest = digestOf(content);
    const key = `${repository} ${digest}`;
    const before = this.#underWay.get(key);
    if (before) await before;
    else {
      const sending = this.#send(repository, digest, content, signal).finally(() => this.#underWay.delete(key));
      this.#underWay.set(key, sending);
      await sending;
    }
    return digest;
  }

  async #send(repository: string, digest: string, content: Buffer, signal: AbortSignal | undefined): Promise<void> {
    const { known } = this.#shared;
    const from = known.repositoryOf(this.#client.origin, digest);
    // A registry that was started anew has forgotten the upload that it had begun, and does not find it.
    await persistently(['unreachable', 'not-found'], signal, () =>
      this.#client.ensureBlob(repository, digest, content, { ...(from && from !== repository && { from }), ...(signal && { signal }) }),
    );
    known.remember(this.#client.origin, digest, repository);
  }
}

/** How much is to be sent next: a chunk, or what is left of the content. Waits until it is there; 0: nothing is left. */
async function wholeChunk(source: AppendedSource, position: number, signal: AbortSignal): Promise<number> {
  if ((await source.available(position + chunkBytes - 1, signal)) > 0) return chunkBytes;
  return Math.min(await source.available(position, signal), chunkBytes);
}

/** A copy: what is handed over is memory that is used again. */
async function contentOf(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of body) pieces.push(Buffer.from(piece));
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
}

/** It is read once, from the beginning to the end. */
function hashed(source: AppendedSource, hash: { update(content: Buffer): unknown }): AppendedSource {
  return {
    available: (position, signal) => source.available(position, signal),
    async read(buffer, position) {
      const read = await source.read(buffer, position);
      hash.update(buffer.subarray(0, read));
      return read;
    },
  };
}
