import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { bulkBuffer } from '../util/bulk-buffer.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import type { BlobInfo, BlobUpload, ExpectedBlob } from './blob.ts';
import { BlobFiles, fingerprintOf, type Sum } from './blob-files.ts';
import { NewBlob } from './blob-upload.ts';
import { ImageError, localError } from './errors.ts';
import { PageSums } from './page-sums.ts';
import { Patch } from './patch.ts';

/** Bytes read from disk at a time: each is a new buffer, and larger ones leave more garbage between two collections. */
const readChunk = 256 * 1024;

/** First and last byte, both included, as in HTTP. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * Content-addressed files in a directory: `blobs/sha256/HEX`, and `uploads/` for what is not complete. What stands under
 * its digest was hashed, flushed and renamed into place; what was patched since stands under a digest of how it came to be
 * (`patchedDigest`). Files 0600, directories 0700: checkpoints are memory, and memory
 * holds secrets. One process at a time may have a store open.
 */
export class BlobStore {
  readonly #files: BlobFiles;
  /** Fingerprints of blobs that were found sound. */
  readonly #sound = new Map<string, string>();

  private constructor(directory: string) {
    this.#files = new BlobFiles(directory);
  }

  /** Opens or creates the store in a directory, and removes what an earlier process left unfinished. */
  static async open(directory: string): Promise<BlobStore> {
    const store = new BlobStore(directory);
    const { blobs, sums, uploads } = store.#files;
    try {
      await mkdir(blobs, { recursive: true, mode: 0o700 });
      await mkdir(sums, { recursive: true, mode: 0o700 });
      await rm(uploads, { recursive: true, force: true });
      await mkdir(uploads, { mode: 0o700 });
    } catch (error) {
      throw localError(`blob store ${directory}`, error);
    }
    return store;
  }

  /** A store that was opened elsewhere, in another thread of the same process. */
  static at(directory: string): BlobStore {
    return new BlobStore(directory);
  }

  /**
   * Begins a blob whose digest is not known yet.
   *
   * @param options.patchable whether it may be patched later
   * @param options.patch digest of a blob that it is a patch of (`createPatch`)
   * @throws ImageError `not-found` when that is not there
   */
  async createUpload({ patchable, patch }: { patchable?: boolean; patch?: string | undefined } = {}): Promise<BlobUpload> {
    if (patch !== undefined) return this.createPatch(patch);
    try {
      return await NewBlob.begin(this.#files, { patchable: patchable ?? false });
    } catch (error) {
      throw localError('blob store: beginning an upload', error);
    }
  }

  /**
   * Begins to write parts of a blob anew, in its place: from here on it is not in the store, and unless this is completed it is lost.
   *
   * @param digest of one that was uploaded as patchable, or is patched
   * @throws ImageError `not-found`
   */
  async createPatch(digest: string): Promise<BlobUpload> {
    try {
      return await Patch.begin(this.#files, digest);
    } catch (error) {
      throw localError(`blob store: patching ${digest}`, error);
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
      return { size: (await stat(this.#files.pathOf(digest))).size };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** A blob's content, or a range of it. A blob that is not here fails the stream with ENOENT. Not re-hashed: see `verify`. */
  read(digest: string, range?: ByteRange): Readable {
    return createReadStream(this.#files.pathOf(digest), { highWaterMark: readChunk, ...range });
  }

  /** Removes a blob; it need not be here. Who reads it already reads on. */
  async remove(digest: string): Promise<void> {
    await rm(this.#files.pathOf(digest), { force: true });
    await this.#files.removeSums(digest);
  }

  /**
   * Reads the whole blob and compares it with the checksum that its sender gave, or, where there is none, with its digest. The
   * first takes a third of the time, and looks for what a disk does to content; that it is what was sent, `commit` has seen.
   * What came with a checksum less than a minute ago, or was found sound before, and was not written to since is not read: that
   * would only compare the page cache with itself.
   * @throws ImageError `not-found`, `digest-mismatch`, `aborted`
   */
  async verify(digest: string, options: { signal?: AbortSignal } = {}): Promise<BlobInfo> {
    const same = await this.#isSound(digest);
    if (same) return same;
    const sum = await this.#files.sumOf(digest);
    let check: Check;
    let size = 0;
    let fingerprint = '';
    try {
      await using file = await open(this.#files.pathOf(digest), 'r');
      const found = await file.stat({ bigint: true });
      fingerprint = fingerprintOf(found);
      const fresh = sum !== undefined && Date.now() - sum.at < freshMs && sum.written === fingerprint;
      if (fresh) {
        this.#sound.set(digest, fingerprint);
        return { digest, size: Number(found.size) };
      }
      check = await this.#checkOf(digest, sum);
      const buffer = bulkBuffer(bulkHighWaterMark);
      for (;;) {
        options.signal?.throwIfAborted();
        const { bytesRead } = await file.read(buffer, 0, buffer.length, size);
        if (bytesRead === 0) break;
        const chunk = buffer.subarray(0, bytesRead);
        check.update(chunk, size);
        size += bytesRead;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        throw new ImageError('not-found', `blob store: ${digest} is not here`, { cause: error });
      throw localError(`blob store: verifying ${digest}`, error);
    }
    const differs = check.differs();
    if (differs)
      throw new ImageError(
        'digest-mismatch',
        `blob store: ${digest} is damaged on disk, its content has ${differs}; remove it and fetch it again`,
      );
    this.#sound.set(digest, fingerprint);
    return { digest, size };
  }

  /** A blob that was found sound, and that nobody has written to since; as often as a runtime asks for one. */
  async #isSound(digest: string): Promise<BlobInfo | undefined> {
    const before = this.#sound.get(digest);
    const found = before === undefined ? undefined : await stat(this.#files.pathOf(digest), { bigint: true }).catch(() => undefined);
    return found && fingerprintOf(found) === before ? { digest, size: Number(found.size) } : undefined;
  }

  async #checkOf(digest: string, sum: Sum | undefined): Promise<Check> {
    if (sum?.crc32 !== undefined) return checkWhole(sum.crc32);
    // What cannot be read leaves the digest to compare with, which is not that of a patched one.
    const pageSums = sum?.pages ? await this.#files.pageSumsOf(digest).catch(() => undefined) : undefined;
    return pageSums ? checkPages(pageSums) : checkDigest(digest);
  }

  /** Verifies all blobs, one after the other. @throws as `verify` */
  async verifyAll(options: { signal?: AbortSignal } = {}): Promise<void> {
    for (const name of await readdir(this.#files.blobs)) await this.verify(`sha256:${name}`, options);
  }

  /** Bytes of all blobs and unfinished uploads. */
  async usage(): Promise<number> {
    let bytes = 0;
    for (const directory of [this.#files.blobs, this.#files.uploads]) {
      for (const name of await readdir(directory)) {
        // A file may go while we count.
        bytes += (await stat(join(directory, name)).catch(() => ({ size: 0 }))).size;
      }
    }
    return bytes;
  }
}

/** Looks at content from its beginning to its end. */
interface Check {
  update(chunk: Buffer, position: number): void;
  /** What it is in place of what it should be, in words; undefined: it is what it should be. */
  differs(): string | undefined;
}

function checkWhole(expected: number): Check {
  let found = 0;
  return {
    update: (chunk) => {
      found = crc32(chunk, found);
    },
    differs: () => (found === expected ? undefined : `checksum ${found} instead of ${expected}`),
  };
}

function checkPages(expected: PageSums): Check {
  const found = new PageSums();
  return {
    update: (chunk, position) => found.write(position, chunk),
    differs: () => (found.equals(expected) ? undefined : 'other checksums of its pages'),
  };
}

function checkDigest(expected: string): Check {
  const hash = createHash('sha256');
  return {
    update: (chunk) => void hash.update(chunk),
    differs: () => {
      const found = `sha256:${hash.digest('hex')}`;
      return found === expected ? undefined : found;
    },
  };
}

/** How long what was written is taken to be in the page cache still. Milliseconds. */
const freshMs = 60_000;
