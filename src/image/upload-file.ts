import { type FileHandle, open, rename, rm, writeFile } from 'node:fs/promises';
import { type BlobFiles, fingerprintOf, type Sum } from './blob-files.ts';
import { localError } from './errors.ts';
import { Flusher } from './flusher.ts';
import type { PageSums } from './page-sums.ts';

/** What is known of a blob by now. */
interface Checksums {
  /** Of the whole, as its sender gave it. */
  crc32?: number | undefined;
  pageSums: PageSums | undefined;
}

/** A file that is to become a blob. Exactly one of `publish` and `abort` ends it. */
export class UploadFile {
  readonly handle: FileHandle;
  readonly path: string;
  readonly #files: BlobFiles;
  readonly #flusher: Flusher;
  #ended = false;

  constructor(files: BlobFiles, handle: FileHandle, path: string) {
    this.#files = files;
    this.handle = handle;
    this.path = path;
    this.#flusher = new Flusher(handle);
  }

  /** So many bytes more were written. */
  wrote(bytes: number): void {
    this.#flusher.wrote(bytes);
  }

  /**
   * Makes it a blob, durably: when it resolves, a power cut takes nothing away.
   *
   * @param check throws when it is not what it should be
   * @throws what that throws, ImageError `no-space`; the file is gone then
   */
  async publish(digest: string, { crc32, pageSums }: Checksums, check: () => void | Promise<void>): Promise<void> {
    if (this.#ended) throw new Error('this upload has ended');
    try {
      await check();
      await this.#flusher.end();
      const written = fingerprintOf(await this.handle.stat({ bigint: true }));
      await this.handle.close();
      if (pageSums) await writeFile(this.#files.pageSumsPath(digest), pageSums.encode(), { mode: 0o600 });
      if (crc32 !== undefined || pageSums) {
        const sum: Sum = { ...(crc32 === undefined ? {} : { crc32 }), ...(pageSums ? { pages: true } : {}), written, at: Date.now() };
        await writeFile(this.#files.sumPath(digest), JSON.stringify(sum), { mode: 0o600 });
      }
      await rename(this.path, this.#files.pathOf(digest));
      // The name is durable only when its directory is.
      await using directory = await open(this.#files.blobs);
      await directory.sync();
    } catch (error) {
      await this.abort();
      throw localError(`completing ${digest}`, error);
    }
    this.#ended = true;
  }

  async abort(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#flusher.idle();
    await this.handle.close().catch(() => undefined);
    await rm(this.path, { force: true });
  }
}
