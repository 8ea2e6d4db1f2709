import { bulkOffset } from '../util/bulk-buffer.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { Numbers } from '../util/numbers.ts';
import { Growth } from './growth.ts';

/** Parts of a file, in its order; more may be added while they are read. */
export class Ranges {
  // Numbers side by side: an object for each took ten times as much, and there may be 260,000.
  readonly #starts = new Numbers();
  readonly #lengths = new Numbers();
  readonly #at = new Numbers();
  #bytes = 0;

  /** Of all so far. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#starts.length;
  }

  /**
   * Tells start and length of each from the `index`-th on, and where it belongs in another file, without an object for each.
   *
   * @param each returns whether to go on
   */
  eachFrom(index: number, each: (start: number, length: number, at: number, index: number) => boolean): void {
    for (let next = index; next < this.count; next++)
      if (!each(this.#starts.get(next) as number, this.#lengths.get(next) as number, this.#at.get(next) as number, next)) return;
  }

  /** What follows the last one directly, in both files, is put together with it. */
  add(start: number, length: number, at = start): void {
    const index = this.count - 1;
    const before = this.#lengths.get(index) ?? 0;
    const follows = index >= 0 && (this.#starts.get(index) ?? 0) + before === start && (this.#at.get(index) ?? 0) + before === at;
    if (follows) this.#lengths.setLast(before + length);
    else {
      this.#starts.push(start);
      this.#lengths.push(length);
      this.#at.push(at);
    }
    this.#bytes += length;
  }
}

/** Reads parts of a file, one after the other into one piece of memory, which it has meanwhile. */
export interface PartsReader {
  /**
   * @param parts position and length of each, bytes
   * @param memory is filled from `bulkOffset` on
   * @returns the memory, and how much of it was filled: fewer bytes only when the file is shorter
   */
  gather(path: string, parts: Float64Array<ArrayBuffer>, memory: ArrayBuffer): Promise<{ memory: ArrayBuffer; bytes: number }>;
}

/** Parts that are read at a time: they are single pages often. */
const partsAtOnce = 512;

/** Reads parts of a file as if they were one after the other in one. */
export class RangesOfFile {
  readonly #path: string;
  readonly #ranges: Ranges;
  readonly #reader: PartsReader;
  readonly #growth: Growth;
  /** Where the reader is: index of a range, and position of its first byte in the whole. */
  #at = { index: 0, from: 0 };
  #memory = new ArrayBuffer(bulkOffset + bulkHighWaterMark);
  /** What of the whole is in there. */
  #window = { start: 0, end: 0 };

  /** @param whole resolves when no range is added any more; what it rejects with fails those who wait for more */
  constructor(path: string, ranges: Ranges, reader: PartsReader, whole: Promise<void> = Promise.resolve()) {
    this.#path = path;
    this.#ranges = ranges;
    this.#reader = reader;
    this.#growth = new Growth(whole);
  }

  /** How many bytes there are from `position` on; waits until there are any. 0: it has ended there. */
  available(position: number, signal: AbortSignal | undefined): Promise<number> {
    return this.#growth.beyond(position, () => this.#ranges.bytes, signal);
  }

  /** Tells where so many bytes from `position` on belong. */
  places(position: number, length: number, each: (at: number, length: number) => void): void {
    this.#parts(position, length, (_start, bytes, at) => {
      each(at, bytes);
      return true;
    });
  }

  /** Fills the buffer from `position` on, as far as there is something. */
  async read(buffer: Buffer, position: number): Promise<number> {
    let filled = 0;
    while (filled < buffer.length) {
      const from = position + filled;
      if (from < this.#window.start || from >= this.#window.end) await this.#look(from);
      const length = Math.min(buffer.length - filled, this.#window.end - from);
      if (length <= 0) break;
      filled += Buffer.from(this.#memory, bulkOffset + from - this.#window.start, length).copy(buffer, filled);
    }
    return filled;
  }

  async #look(position: number): Promise<void> {
    const parts: number[] = [];
    this.#parts(position, bulkHighWaterMark, (start, length) => parts.push(start, length) < 2 * partsAtOnce);
    const { memory, bytes } = await this.#reader.gather(this.#path, Float64Array.from(parts), this.#memory);
    this.#memory = memory;
    this.#window = { start: position, end: position + bytes };
  }

  /** The ranges of so many bytes from `position` on, the first and the last of them cut. */
  #parts(position: number, bytes: number, each: (start: number, length: number, at: number) => boolean): void {
    if (position < this.#at.from) this.#at = { index: 0, from: 0 };
    const end = position + bytes;
    let { from } = this.#at;
    this.#ranges.eachFrom(this.#at.index, (start, length, at, index) => {
      if (from <= position) this.#at = { index, from };
      const [first, last] = [Math.max(from, position), Math.min(from + length, end)];
      const goesOn = first >= last || each(start + first - from, last - first, at + first - from);
      from += length;
      return goesOn && from < end;
    });
  }
}
