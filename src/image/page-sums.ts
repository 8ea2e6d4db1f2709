import { crc32 } from 'node:zlib';
import { pageBytes } from './zero-pages.ts';

const zeroPage = Buffer.alloc(pageBytes);
const sumOfZeros = crc32(zeroPage);

/**
 * CRC-32 of every page of a file: when pages of it are written anew, those of the others still hold. Four bytes a page,
 * 1 MiB a GiB.
 */
export class PageSums {
  #sums: Uint32Array;
  /** Pages there are. */
  #count: number;
  /** The page that is being written, and how much of it is there. */
  #open = { page: 0, filled: 0 };

  constructor(encoded: Buffer = Buffer.alloc(0)) {
    this.#count = Math.floor(encoded.length / 4);
    this.#sums = new Uint32Array(this.#count);
    new Uint8Array(this.#sums.buffer).set(encoded.subarray(0, this.#count * 4));
  }

  /** @param at of a page's beginning, or right after what was written last. @throws Error when it is neither */
  write(at: number, content: Buffer): void {
    for (let done = 0; done < content.length; ) {
      const { page, filled } = this.#begin(at + done);
      const part = content.subarray(done, done + pageBytes - filled);
      this.#sums[page] = crc32(part, filled === 0 ? 0 : this.#sums[page]);
      this.#open = { page, filled: filled + part.length };
      done += part.length;
    }
  }

  /** The same for so many zeros. */
  zeros(at: number, length: number): void {
    for (let done = 0; done < length; ) {
      const { page, filled } = this.#begin(at + done);
      const bytes = Math.min(length - done, pageBytes - filled);
      if (bytes === pageBytes) this.#sums[page] = sumOfZeros;
      else this.#sums[page] = crc32(zeroPage.subarray(0, bytes), filled === 0 ? 0 : this.#sums[page]);
      this.#open = { page, filled: filled + bytes };
      done += bytes;
    }
  }

  equals(other: PageSums): boolean {
    return this.#count === other.#count && Buffer.compare(this.encode(), other.encode()) === 0;
  }

  /** For this machine: in its own order of bytes. */
  encode(): Buffer {
    return Buffer.from(this.#sums.slice(0, this.#count).buffer);
  }

  #begin(at: number): { page: number; filled: number } {
    const { page, filled } = this.#open;
    if (at % pageBytes !== 0) {
      if (at !== page * pageBytes + filled) throw new Error(`byte ${at} neither begins a page nor follows what was written`);
      return { page, filled };
    }
    const next = at / pageBytes;
    if (next >= this.#count) this.#grow(next + 1);
    return { page: next, filled: 0 };
  }

  #grow(count: number): void {
    if (count > this.#sums.length) {
      const larger = new Uint32Array(Math.max(count, this.#sums.length * 2, 256));
      larger.set(this.#sums);
      this.#sums = larger;
    }
    this.#count = count;
  }
}
