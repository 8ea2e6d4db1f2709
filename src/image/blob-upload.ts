import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { batchesOf } from '../util/batches.ts';
import type { AppendOptions, BlobInfo, BlobUpload, ExpectedBlob, Span } from './blob.ts';
import type { BlobFiles } from './blob-files.ts';
import { ImageError, localError } from './errors.ts';
import { PageSums } from './page-sums.ts';
import { UploadFile } from './upload-file.ts';

/** More zeros than these in a row are left out of the file as a hole; fewer cost less when they are written with what is around them. */
const leastHole = 128 * 1024;

const zeros = Buffer.alloc(leastHole);

/** Decoded spans up to this are put together before they are hashed and written: a call for each costs more than to copy it. Bytes. */
const smallSpan = 8 * 1024;
const gatheredBytes = 512 * 1024;

/** A new blob, written from its beginning to its end. */
export class NewBlob implements BlobUpload {
  readonly #file: UploadFile;
  readonly #pageSums: PageSums | undefined;
  readonly #hash = createHash('sha256');
  #size = 0;
  /** Written before it is filled anew. */
  #gather: Buffer | undefined;
  #endsInHole = false;

  private constructor(file: UploadFile, patchable: boolean) {
    this.#file = file;
    this.#pageSums = patchable ? new PageSums() : undefined;
  }

  /** @param patchable whether it may be patched later */
  static async begin(files: BlobFiles, { patchable }: { patchable: boolean }): Promise<NewBlob> {
    const path = files.newUpload();
    return new NewBlob(new UploadFile(files, await open(path, 'wx', 0o600), path), patchable);
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
      throw localError(`writing ${this.#file.path}`, error);
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
    this.#pageSums?.zeros(this.#size, length);
    this.#size += length;
    this.#endsInHole = true;
  }

  async #write(chunks: Buffer[]): Promise<void> {
    if (chunks.length === 0) return;
    let length = 0;
    for (const chunk of chunks) {
      this.#hash.update(chunk);
      this.#pageSums?.write(this.#size + length, chunk);
      length += chunk.length;
    }
    const { bytesWritten } = await this.#file.handle.writev(chunks, this.#size);
    // A short write is how a full disk shows before it is an error; the rest tells.
    if (bytesWritten < length) await writeRest(this.#file.handle, Buffer.concat(chunks).subarray(bytesWritten), this.#size + bytesWritten);
    this.#size += length;
    this.#endsInHole = false;
    this.#file.wrote(length);
  }

  async commit(expected?: ExpectedBlob): Promise<BlobInfo> {
    const { digest } = this;
    await this.#file.publish(digest, { crc32: expected?.crc32, pageSums: this.#pageSums }, async () => {
      if (expected !== undefined && (expected.digest !== digest || (expected.size ?? this.#size) !== this.#size)) {
        const wanted = `${expected.digest}${expected.size === undefined ? '' : ` of ${expected.size} bytes`}`;
        throw new ImageError('digest-mismatch', `expected ${wanted}, but ${digest} of ${this.#size} bytes arrived`);
      }
      if (this.#endsInHole) await this.#file.handle.truncate(this.#size);
    });
    return { digest, size: this.#size };
  }

  abort(): Promise<void> {
    return this.#file.abort();
  }
}

async function writeRest(file: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let at = 0; at < data.length; ) at += (await file.write(data, at, data.length - at, position + at)).bytesWritten;
}
