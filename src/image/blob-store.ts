import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { ImageError, localError } from './errors.ts';

/** Bytes read from disk at a time: each is a new buffer, and larger ones leave more garbage between two collections. */
const readChunk = 256 * 1024;

/** First and last byte, both included, as in HTTP. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface BlobInfo {
  /** `sha256:…` */
  digest: string;
  /** Bytes. */
  size: number;
}

/** A blob that is being written. Exactly one of `commit` and `abort` ends it. */
export interface BlobUpload {
  /** Bytes so far. */
  readonly size: number;
  /**
   * Appends a stream. A failed append makes the upload useless: abort it.
   * @throws ImageError `no-space`, `aborted`; whatever the source failed with
   */
  append(source: Readable, options?: { signal?: AbortSignal }): Promise<void>;
  /**
   * Makes the content a blob of the store, durably: when it resolves, a power cut takes nothing away.
   * @throws ImageError `digest-mismatch`, `no-space`; the upload is gone then
   */
  commit(expected?: { digest: string; size?: number }): Promise<BlobInfo>;
  abort(): Promise<void>;
}

/**
 * Content-addressed files in a directory: `blobs/sha256/HEX`, and `uploads/` for what is not complete. What stands under
 * its digest was hashed, flushed and renamed into place. Files 0600, directories 0700: checkpoints are memory, and memory
 * holds secrets. One process at a time may have a store open.
 */
export class BlobStore {
  readonly #blobs: string;
  readonly #uploads: string;

  private constructor(directory: string) {
    this.#blobs = join(directory, 'blobs', 'sha256');
    this.#uploads = join(directory, 'uploads');
  }

  /** Opens or creates the store in a directory, and removes what an earlier process left unfinished. */
  static async open(directory: string): Promise<BlobStore> {
    const store = new BlobStore(directory);
    try {
      await mkdir(store.#blobs, { recursive: true, mode: 0o700 });
      await rm(store.#uploads, { recursive: true, force: true });
      await mkdir(store.#uploads, { mode: 0o700 });
    } catch (error) {
      throw localError(`blob store ${directory}`, error);
    }
    return store;
  }

  /** Begins a blob whose digest is not known yet. */
  async createUpload(): Promise<BlobUpload> {
    const path = join(this.#uploads, randomUUID());
    try {
      return new Upload(await open(path, 'wx', 0o600), path, this.#blobs);
    } catch (error) {
      throw localError(`blob store: beginning ${path}`, error);
    }
  }

  /**
   * Stores a stream's content. Nothing is left behind on failure.
   * @throws ImageError `no-space`, `aborted`; whatever the source failed with
   */
  async write(source: Readable, options: { signal?: AbortSignal } = {}): Promise<BlobInfo> {
    return this.#write(source, undefined, options);
  }

  /**
   * Stores content that must have this digest.
   * @throws ImageError `digest-mismatch` besides those of `write`
   */
  async writeExpected(
    source: Readable,
    expected: { digest: string; size?: number },
    options: { signal?: AbortSignal } = {},
  ): Promise<BlobInfo> {
    return this.#write(source, expected, options);
  }

  async #write(
    source: Readable,
    expected: { digest: string; size?: number } | undefined,
    options: { signal?: AbortSignal },
  ): Promise<BlobInfo> {
    let upload: BlobUpload;
    try {
      upload = await this.createUpload();
    } catch (error) {
      source.destroy();
      throw error;
    }
    try {
      await upload.append(source, options);
      return await upload.commit(expected);
    } catch (error) {
      await upload.abort();
      throw error;
    }
  }

  /** Size of a blob in bytes; undefined when it is not here. */
  async stat(digest: string): Promise<{ size: number } | undefined> {
    try {
      return { size: (await stat(this.#path(digest))).size };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** A blob's content, or a range of it. A blob that is not here fails the stream with ENOENT. Not re-hashed: see `verify`. */
  read(digest: string, range?: ByteRange): Readable {
    return createReadStream(this.#path(digest), { highWaterMark: readChunk, ...range });
  }

  /** Removes a blob; it need not be here. Who reads it already reads on. */
  async remove(digest: string): Promise<void> {
    await rm(this.#path(digest), { force: true });
  }

  /**
   * Reads the whole blob and compares it with its digest.
   * @throws ImageError `not-found`, `digest-mismatch`, `aborted`
   */
  async verify(digest: string, options: { signal?: AbortSignal } = {}): Promise<BlobInfo> {
    const hash = createHash('sha256');
    let size = 0;
    const add = (chunk: Buffer, _encoding: BufferEncoding, done: () => void) => {
      hash.update(chunk);
      size += chunk.length;
      done();
    };
    try {
      await pipeline(this.read(digest), new Writable({ write: add }), options);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        throw new ImageError('not-found', `blob store: ${digest} is not here`, { cause: error });
      throw localError(`blob store: verifying ${digest}`, error);
    }
    const found = `sha256:${hash.digest('hex')}`;
    if (found !== digest)
      throw new ImageError(
        'digest-mismatch',
        `blob store: ${digest} is damaged on disk, its content has ${found}; remove it and fetch it again`,
      );
    return { digest, size };
  }

  /** Bytes of all blobs and unfinished uploads. */
  async usage(): Promise<number> {
    let bytes = 0;
    for (const directory of [this.#blobs, this.#uploads]) {
      for (const name of await readdir(directory)) {
        // A file may go while we count.
        bytes += (await stat(join(directory, name)).catch(() => ({ size: 0 }))).size;
      }
    }
    return bytes;
  }

  #path(digest: string): string {
    // Digests come from the network and become a path.
    if (!/^sha256:[a-f0-9]{64}$/.test(digest)) throw new ImageError('protocol', `${JSON.stringify(digest)} is not a sha256 digest`);
    return join(this.#blobs, digest.slice('sha256:'.length));
  }
}

class Upload implements BlobUpload {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #blobs: string;
  readonly #hash = createHash('sha256');
  #size = 0;
  #ended = false;

  constructor(file: FileHandle, path: string, blobs: string) {
    this.#file = file;
    this.#path = path;
    this.#blobs = blobs;
  }

  get size(): number {
    return this.#size;
  }

  async append(source: Readable, options: { signal?: AbortSignal } = {}): Promise<void> {
    const write = async (chunks: Buffer[]) => {
      let length = 0;
      for (const chunk of chunks) {
        this.#hash.update(chunk);
        length += chunk.length;
      }
      const { bytesWritten } = await this.#file.writev(chunks, this.#size);
      // A short write is how a full disk shows before it is an error; the rest tells.
      if (bytesWritten < length) await writeRest(this.#file, Buffer.concat(chunks).subarray(bytesWritten), this.#size + bytesWritten);
      this.#size += length;
    };
    // Chunks from a socket are small; those that came in during a write go to disk together.
    const sink = new Writable({
      highWaterMark: bulkHighWaterMark,
      write: (chunk: Buffer, _encoding, done) => write([chunk]).then(() => done(), done),
      writev: (items, done) => write(items.map((item) => item.chunk as Buffer)).then(() => done(), done),
    });
    try {
      await pipeline(source, sink, options);
    } catch (error) {
      throw localError(`writing ${this.#path}`, error);
    }
  }

  async commit(expected?: { digest: string; size?: number }): Promise<BlobInfo> {
    if (this.#ended) throw new Error('this upload has ended');
    const digest = `sha256:${this.#hash.digest('hex')}`;
    try {
      if (expected !== undefined && (expected.digest !== digest || (expected.size ?? this.#size) !== this.#size)) {
        const wanted = `${expected.digest}${expected.size === undefined ? '' : ` of ${expected.size} bytes`}`;
        throw new ImageError('digest-mismatch', `expected ${wanted}, but ${digest} of ${this.#size} bytes arrived`);
      }
      await this.#file.sync();
      await this.#file.close();
      await rename(this.#path, join(this.#blobs, digest.slice('sha256:'.length)));
      // The name is durable only when its directory is.
      await using directory = await open(this.#blobs);
      await directory.sync();
    } catch (error) {
      await this.abort();
      throw localError(`completing ${digest}`, error);
    }
    this.#ended = true;
    return { digest, size: this.#size };
  }

  async abort(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#file.close().catch(() => undefined);
    await rm(this.#path, { force: true });
  }
}

async function writeRest(file: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let at = 0; at < data.length; ) at += (await file.write(data, at, data.length - at, position + at)).bytesWritten;
}
