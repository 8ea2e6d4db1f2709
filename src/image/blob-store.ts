import { createHash, randomUUID } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { batchesOf } from '../util/batches.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { ImageError, localError } from './errors.ts';

/** Bytes read from disk at a time: each is a new buffer, and larger ones leave more garbage between two collections. */
const readChunk = 256 * 1024;

/** Bytes that are written before the disk is told to begin. */
const flushBytes = 64 * 1024 * 1024;

/** More zeros than these in a row are left out of the file as a hole; fewer cost less when they are written with what is around them. */
const leastHole = 128 * 1024;

const zeros = Buffer.alloc(leastHole);

/** Decoded spans up to this are put together before they are hashed and written: a call for each costs more than to copy it. Bytes. */
const smallSpan = 8 * 1024;
const gatheredBytes = 512 * 1024;

/** Content: bytes, or so many zeros. */
export type Span = Buffer | number;

/** What becomes of a stream's chunks before they are content. */
export type Decoder = (batches: AsyncIterable<Buffer[]>) => AsyncIterable<Span[]>;

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

/** What a blob has to be, by who sent it. */
export interface ExpectedBlob {
  digest: string;
  /** Bytes. */
  size?: number;
  /** CRC-32 as the sender read it; from then on `verify` compares with it. */
  crc32?: number;
}

/** Where a store in a directory has its blobs, named by the hexadecimal digits of their digests. */
export function blobsDirectory(directory: string): string {
  return join(directory, 'blobs', 'sha256');
}

export interface AppendOptions {
  signal?: AbortSignal;
  /** Without it, the chunks are the content. */
  decode?: Decoder;
}

/** A blob that is being written. Exactly one of `commit` and `abort` ends it. */
export interface BlobUpload {
  /** Bytes so far. */
  readonly size: number;
  /** `sha256:…` of the bytes so far. */
  readonly digest: string;
  /**
   * Appends a stream, decoded. When the stream fails, what had come of it is kept, and `size` says how much that is; when writing
   * fails, the upload is useless: abort it.
   * @throws ImageError `no-space`, `aborted`; whatever the source failed with
   */
  append(source: Readable, options?: AppendOptions): Promise<void>;
  /**
   * Makes the content a blob of the store, durably: when it resolves, a power cut takes nothing away.
   * @throws ImageError `digest-mismatch`, `no-space`; the upload is gone then
   */
  commit(expected?: ExpectedBlob): Promise<BlobInfo>;
  abort(): Promise<void>;
}

/**
 * Content-addressed files in a directory: `blobs/sha256/HEX`, and `uploads/` for what is not complete. What stands under
 * its digest was hashed, flushed and renamed into place. Files 0600, directories 0700: checkpoints are memory, and memory
 * holds secrets. One process at a time may have a store open.
 */
export class BlobStore {
  readonly #blobs: string;
  /** CRC-32 of blobs, where whoever sent them said it. */
  readonly #sums: string;
  readonly #uploads: string;
  /** Fingerprints of blobs that were found sound. */
  readonly #sound = new Map<string, string>();

  private constructor(directory: string) {
    this.#blobs = blobsDirectory(directory);
    this.#sums = join(directory, 'crc32');
    this.#uploads = join(directory, 'uploads');
  }

  /** Opens or creates the store in a directory, and removes what an earlier process left unfinished. */
  static async open(directory: string): Promise<BlobStore> {
    const store = new BlobStore(directory);
    try {
      await mkdir(store.#blobs, { recursive: true, mode: 0o700 });
      await mkdir(store.#sums, { recursive: true, mode: 0o700 });
      await rm(store.#uploads, { recursive: true, force: true });
      await mkdir(store.#uploads, { mode: 0o700 });
    } catch (error) {
      throw localError(`blob store ${directory}`, error);
    }
    return store;
  }

  /** A store that was opened elsewhere, in another thread of the same process. */
  static at(directory: string): BlobStore {
    return new BlobStore(directory);
  }

  /** Begins a blob whose digest is not known yet. */
  async createUpload(): Promise<BlobUpload> {
    const path = join(this.#uploads, randomUUID());
    try {
      return new Upload(await open(path, 'wx', 0o600), path, this.#blobs, this.#sums);
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
  async writeExpected(source: Readable, expected: ExpectedBlob, options: { signal?: AbortSignal } = {}): Promise<BlobInfo> {
    return this.#write(source, expected, options);
  }

  async #write(source: Readable, expected: ExpectedBlob | undefined, options: { signal?: AbortSignal }): Promise<BlobInfo> {
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
      source.on('error', () => undefined).destroy();
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
    await rm(join(this.#sums, nameOf(digest)), { force: true });
  }

  /**
   * Reads the whole blob and compares it with the checksum that its sender gave, or, where there is none, with its digest. The
   * first takes a third of the time, and looks for what a disk does to content; that it is what was sent, `commit` has seen.
   * What came with a checksum less than a minute ago, or was found sound before, and was not written to since is not read: that
   * would only compare the page cache with itself.
   * @throws ImageError `not-found`, `digest-mismatch`, `aborted`
   */
  async verify(digest: string, options: { signal?: AbortSignal } = {}): Promise<BlobInfo> {
    const sum = await this.#sumOf(digest);
    const hash = createHash('sha256');
    let checksum = 0;
    let size = 0;
    let fingerprint = '';
    try {
      await using file = await open(this.#path(digest), 'r');
      const found = await file.stat({ bigint: true });
      fingerprint = fingerprintOf(found);
      const fresh = sum !== undefined && Date.now() - sum.at < freshMs && sum.written === fingerprint;
      if (fresh || this.#sound.get(digest) === fingerprint) {
        this.#sound.set(digest, fingerprint);
        return { digest, size: Number(found.size) };
      }
      const buffer = Buffer.allocUnsafeSlow(bulkHighWaterMark);
      for (;;) {
        options.signal?.throwIfAborted();
        const { bytesRead } = await file.read(buffer, 0, buffer.length, size);
        if (bytesRead === 0) break;
        const chunk = buffer.subarray(0, bytesRead);
        if (sum) checksum = crc32(chunk, checksum);
        else hash.update(chunk);
        size += bytesRead;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        throw new ImageError('not-found', `blob store: ${digest} is not here`, { cause: error });
      throw localError(`blob store: verifying ${digest}`, error);
    }
    const found = sum ? `checksum ${checksum} instead of ${sum.crc32}` : `sha256:${hash.digest('hex')}`;
    if (sum ? checksum !== sum.crc32 : found !== digest)
      throw new ImageError(
        'digest-mismatch',
        `blob store: ${digest} is damaged on disk, its content has ${found}; remove it and fetch it again`,
      );
    this.#sound.set(digest, fingerprint);
    return { digest, size };
  }

  /** What is not there or cannot be read leaves the digest to compare with. */
  async #sumOf(digest: string): Promise<Sum | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#sums, nameOf(digest)), 'utf8')) as Sum;
    } catch {
      return undefined;
    }
  }

  /** Verifies all blobs, one after the other. @throws as `verify` */
  async verifyAll(options: { signal?: AbortSignal } = {}): Promise<void> {
    for (const name of await readdir(this.#blobs)) await this.verify(`sha256:${name}`, options);
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
    return join(this.#blobs, nameOf(digest));
  }
}

/** Of a blob whose sender gave a checksum. */
interface Sum {
  crc32: number;
  /** The file as it was then (`fingerprintOf`). */
  written: string;
  /** When. Milliseconds since the epoch. */
  at: number;
}

/** Another as soon as somebody writes to the file or puts another in its place; links to it do not matter. */
const fingerprintOf = ({ ino, size, mtimeNs }: BigIntStats) => `${ino} ${size} ${mtimeNs}`;

/** How long what was written is taken to be in the page cache still. Milliseconds. */
const freshMs = 60_000;

const nameOf = (digest: string) => digest.slice('sha256:'.length);

class Upload implements BlobUpload {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #blobs: string;
  readonly #sums: string;
  readonly #hash = createHash('sha256');
  #size = 0;
  /** Written before it is filled anew. */
  #gather: Buffer | undefined;
  #endsInHole = false;
  #unflushed = 0;
  #flushing: Promise<void> | undefined;
  #flushFailure: { error: unknown } | undefined;
  #ended = false;

  constructor(file: FileHandle, path: string, blobs: string, sums: string) {
    this.#file = file;
    this.#path = path;
    this.#blobs = blobs;
    this.#sums = sums;
  }

  get size(): number {
    return this.#size;
  }

  get digest(): string {
    return `sha256:${this.#hash.copy().digest('hex')}`;
  }

  async append(source: Readable, { signal, decode }: AppendOptions = {}): Promise<void> {
    const batches = batchesOf(source, signal);
    try {
      if (!decode) for await (const batch of batches) await this.#write(batch);
      else for await (const spans of decode(batches)) await this.#append(spans);
    } catch (error) {
      throw localError(`writing ${this.#path}`, error);
    }
  }

  /** Hashed and written are the same at any time outside of this: an append that broke off can be followed by another. */
  async #append(spans: Span[]): Promise<void> {
    let together: Buffer[] = [];
    // Where the next small one goes, and what of that is not in `together` yet.
    let [from, to] = [0, 0];
    const gathered = () => {
      if (this.#gather && to > from) together.push(this.#gather.subarray(from, to));
      from = to;
    };
    const write = async () => {
      gathered();
      await this.#write(together);
      [together, from, to] = [[], 0, 0];
    };
    for (const span of spans) {
      if (typeof span === 'number' && span > leastHole) {
        await write();
        this.#skip(span);
        continue;
      }
      const bytes = typeof span === 'number' ? zeros.subarray(0, span) : span;
      if (bytes.length <= smallSpan) {
        this.#gather ??= Buffer.allocUnsafeSlow(gatheredBytes);
        if (to + bytes.length > gatheredBytes) await write();
        to += bytes.copy(this.#gather, to);
      } else {
        gathered();
        together.push(bytes);
      }
    }
    await write();
  }

  /** Leaves a hole. Zeros that are hashed cost as much as others. */
  #skip(length: number): void {
    for (let left = length; left > 0; left -= zeros.length) this.#hash.update(zeros.subarray(0, left));
    this.#size += length;
    this.#endsInHole = true;
  }

  async #write(chunks: Buffer[]): Promise<void> {
    if (chunks.length === 0) return;
    let length = 0;
    for (const chunk of chunks) {
      this.#hash.update(chunk);
      length += chunk.length;
    }
    const { bytesWritten } = await this.#file.writev(chunks, this.#size);
    // A short write is how a full disk shows before it is an error; the rest tells.
    if (bytesWritten < length) await writeRest(this.#file, Buffer.concat(chunks).subarray(bytesWritten), this.#size + bytesWritten);
    this.#size += length;
    this.#endsInHole = false;
    this.#flush(length);
  }

  /** Lets the disk begin while the rest is still on its way: else all of it is waited for at the end. */
  #flush(written: number): void {
    this.#unflushed += written;
    if (this.#flushing || this.#unflushed < flushBytes) return;
    this.#unflushed = 0;
    this.#flushing = this.#file.datasync().then(
      () => {
        this.#flushing = undefined;
      },
      (error: unknown) => {
        // The kernel reports a failure of the disk once.
        this.#flushFailure ??= { error };
        this.#flushing = undefined;
      },
    );
  }

  async commit(expected?: ExpectedBlob): Promise<BlobInfo> {
    if (this.#ended) throw new Error('this upload has ended');
    const { digest } = this;
    try {
      if (expected !== undefined && (expected.digest !== digest || (expected.size ?? this.#size) !== this.#size)) {
        const wanted = `${expected.digest}${expected.size === undefined ? '' : ` of ${expected.size} bytes`}`;
        throw new ImageError('digest-mismatch', `expected ${wanted}, but ${digest} of ${this.#size} bytes arrived`);
      }
      await this.#flushing;
      if (this.#flushFailure) throw this.#flushFailure.error;
      if (this.#endsInHole) await this.#file.truncate(this.#size);
      await this.#file.sync();
      const written = fingerprintOf(await this.#file.stat({ bigint: true }));
      await this.#file.close();
      if (expected?.crc32 !== undefined) {
        const sum: Sum = { crc32: expected.crc32, written, at: Date.now() };
        await writeFile(join(this.#sums, nameOf(digest)), JSON.stringify(sum), { mode: 0o600 });
      }
      await rename(this.#path, join(this.#blobs, nameOf(digest)));
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
    await this.#flushing;
    await this.#file.close().catch(() => undefined);
    await rm(this.#path, { force: true });
  }
}

async function writeRest(file: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let at = 0; at < data.length; ) at += (await file.write(data, at, data.length - at, position + at)).bytesWritten;
}
