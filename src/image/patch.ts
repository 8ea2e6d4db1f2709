import { createHash } from 'node:crypto';
import { writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { batchesOf } from '../util/batches.ts';
import type { AppendOptions, BlobInfo, BlobUpload, ExpectedBlob } from './blob.ts';
import type { BlobFiles } from './blob-files.ts';
import { digestOf } from './digest.ts';
import { ImageError, localError } from './errors.ts';
import type { PageSums } from './page-sums.ts';
import { Places } from './places.ts';
import { UploadFile } from './upload-file.ts';

/** Zeros that are written at a time. */
const zeros = Buffer.alloc(64 * 1024);

/**
 * The digest of a patched blob: of what it was, what was written, and where. To hash a GiB of content anew would take longer
 * than all the rest, and the pod stands still.
 *
 * @param base digest of the blob before
 * @param content digest of what was written
 * @param places `Places.digest` of where
 */
export function patchedDigest(base: string, content: string, places: string): string {
  return digestOf(Buffer.from(`patched\n${base}\n${content}\n${places}\n`));
}

/**
 * Writes parts of a blob anew, in its place: memory that changed. Beside a file of changes this saves memory for them in the page
 * cache, and CRIU reads one file from one end to the other. The blob is none of the store's meanwhile; given up, it is gone.
 * Writes at once, without the thread pool: there are many small ones, and it is for a thread that does nothing else.
 */
export class Patch implements BlobUpload {
  readonly #file: UploadFile;
  readonly #base: string;
  readonly #pageSums: PageSums;
  /** Bytes of the blob. */
  readonly #bytes: number;
  readonly #hash = createHash('sha256');
  readonly #done = new Places();
  #next = new Places();
  /** Of the first of them that is not full: its index, and how much of it is. */
  #at = { index: 0, filled: 0 };
  #size = 0;

  private constructor(file: UploadFile, base: string, { bytes, pageSums }: { bytes: number; pageSums: PageSums }) {
    this.#file = file;
    this.#base = base;
    this.#bytes = bytes;
    this.#pageSums = pageSums;
  }

  /** @param digest of the blob @throws ImageError `not-found` when there is none that can be patched */
  static async begin(files: BlobFiles, digest: string): Promise<Patch> {
    const path = files.newUpload();
    try {
      const pageSums = await files.pageSumsOf(digest);
      await rename(files.pathOf(digest), path);
      const file = await open(path, 'r+');
      await files.removeSums(digest);
      return new Patch(new UploadFile(files, file, path), digest, { bytes: (await file.stat()).size, pageSums });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new ImageError('not-found', `blob store: there is no ${digest} here that could be patched`, { cause: error });
    }
  }

  get size(): number {
    return this.#size;
  }

  get digest(): string {
    return `sha256:${this.#hash.copy().digest('hex')}`;
  }

  place(places: Places): void {
    this.#next = places;
    this.#at = { index: 0, filled: 0 };
  }

  async append(source: Readable, { signal, decode }: AppendOptions = {}): Promise<void> {
    const batches = batchesOf(source, signal);
    try {
      for await (const spans of decode ? decode(batches) : batches)
        for (const span of spans) {
          if (typeof span !== 'number') this.#write(span);
          else for (let left = span; left > 0; left -= zeros.length) this.#write(zeros.subarray(0, left));
        }
    } catch (error) {
      throw localError(`writing ${this.#file.path}`, error);
    }
  }

  #write(content: Buffer): void {
    this.#hash.update(content);
    for (let written = 0; written < content.length; ) {
      const place = this.#next.get(this.#at.index);
      if (!place) throw new ImageError('protocol', 'a patch has more content than it has places for');
      const { index, filled } = this.#at;
      const at = place.at + filled;
      const part = content.subarray(written, written + place.length - filled);
      if (at + part.length > this.#bytes)
        throw new ImageError('protocol', `a patch has a place at byte ${place.at}, and the blob has ${this.#bytes} bytes`);
      for (let done = 0; done < part.length; ) done += writeSync(this.#file.handle.fd, part, done, part.length - done, at + done);
      this.#pageSums.write(at, part);
      this.#done.add(at, part.length);
      written += part.length;
      this.#at = filled + part.length === place.length ? { index: index + 1, filled: 0 } : { index, filled: filled + part.length };
    }
    this.#size += content.length;
    this.#file.wrote(content.length);
  }

  /** @throws ImageError `digest-mismatch`, `no-space`; the blob is gone then */
  async commit(expected?: ExpectedBlob): Promise<BlobInfo> {
    const { digest: content } = this;
    const places = this.#done.digest();
    const digest = patchedDigest(this.#base, content, places);
    // The sender's checksum is of what was written; of the blob only those of its pages are known.
    await this.#file.publish(digest, { pageSums: this.#pageSums }, () => {
      if (expected && (expected.digest !== content || expected.places !== places || (expected.size ?? this.#size) !== this.#size))
        throw new ImageError('digest-mismatch', `expected a patch with ${expected.digest}, but ${content} of ${this.#size} bytes arrived`);
    });
    return { digest, size: this.#bytes };
  }

  abort(): Promise<void> {
    return this.#file.abort();
  }
}
