import { type FileHandle, open } from 'node:fs/promises';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { Growth } from './growth.ts';

/** Parts of a file, in its order; more may be added while they are read. */
export class Ranges {
  // Numbers side by side: an object for each took ten times as much, and there may be 100,000.
  readonly #starts: number[] = [];
  readonly #lengths: number[] = [];
  #bytes = 0;

  /** Of all so far. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#starts.length;
  }

  /** The n-th, from 0. */
  at(index: number): { start: number; length: number } | undefined {
    const start = this.#starts[index];
    const length = this.#lengths[index];
    return start === undefined || length === undefined ? undefined : { start, length };
  }

  /** What follows the last one directly is put together with it. */
  add(start: number, length: number): void {
    const index = this.count - 1;
    const last = this.at(index);
    if (last && last.start + last.length === start) this.#lengths[index] = last.length + length;
    else {
      this.#starts.push(start);
      this.#lengths.push(length);
    }
    this.#bytes += length;
  }
}

/** Reads parts of a file as if they were one after the other in one. */
export class RangesOfFile {
  readonly #file: FileHandle;
  readonly #ranges: Ranges;
  readonly #growth: Growth;
  /** Where the reader is: index of a range, and position of its first byte in the whole. */
  #at = { index: 0, from: 0 };
  readonly #scratch = Buffer.allocUnsafeSlow(bulkHighWaterMark);
  /** What of the file is in there. */
  #window = { start: 0, end: 0 };

  private constructor(file: FileHandle, ranges: Ranges, whole: Promise<void>) {
    this.#file = file;
    this.#ranges = ranges;
    this.#growth = new Growth(whole);
  }

  /** @param whole resolves when no range is added any more; what it rejects with fails those who wait for more */
  static async open(path: string, ranges: Ranges, whole: Promise<void> = Promise.resolve()): Promise<RangesOfFile> {
    return new RangesOfFile(await open(path, 'r'), ranges, whole);
  }

  /** How many bytes there are from `position` on; waits until there are any. 0: it has ended there. */
  available(position: number, signal: AbortSignal | undefined): Promise<number> {
    return this.#growth.beyond(position, () => this.#ranges.bytes, signal);
  }

  /** Fills the buffer from `position` on, as far as there is something. */
  async read(buffer: Buffer, position: number): Promise<number> {
    if (position < this.#at.from) this.#at = { index: 0, from: 0 };
    let filled = 0;
    while (filled < buffer.length) {
      const range = this.#ranges.at(this.#at.index);
      if (!range) break;
      const within = position + filled - this.#at.from;
      if (within >= range.length) {
        // The last one may still grow.
        if (this.#at.index === this.#ranges.count - 1) break;
        this.#at = { index: this.#at.index + 1, from: this.#at.from + range.length };
        continue;
      }
      const start = range.start + within;
      if (start < this.#window.start || start >= this.#window.end) await this.#look(start, range.length - within);
      const length = Math.min(buffer.length - filled, range.length - within, this.#window.end - start);
      if (length <= 0) break;
      this.#scratch.copy(buffer, filled, start - this.#window.start, start - this.#window.start + length);
      filled += length;
    }
    return filled;
  }

  /** Ranges are single pages often, and to ask for each costs more than to read what is between them. */
  async #look(start: number, least: number): Promise<void> {
    const last = this.#ranges.at(this.#ranges.count - 1);
    const wanted = Math.min(this.#scratch.length, Math.max(least, last ? last.start + last.length - start : 0));
    const { bytesRead } = await this.#file.read(this.#scratch, 0, wanted, start);
    this.#window = { start, end: start + bytesRead };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}
