import { createHash } from 'node:crypto';
import { Numbers } from '../util/numbers.ts';
import { ImageError } from './errors.ts';

/** A part of a file. Bytes. */
export interface Place {
  at: number;
  length: number;
}

/** The content type of places, of a PATCH that says where in the blob what comes next belongs: of each, position and length, 8 bytes each, least first. */
export const placesType = 'application/vnd.podferry.places';

const encodedBytes = 16;

/** Places that are encoded for a digest at a time. */
const hashedAtOnce = 4096;

/** The most that a body of places may have. Bytes. */
export const maxPlacesBytes = 1024 * 1024;

/** Where content belongs, one after the other. What follows the last one directly is put together with it. */
export class Places {
  // Numbers side by side: an object for each took ten times as much, and there may be 260,000.
  readonly #at = new Numbers();
  readonly #lengths = new Numbers();

  get count(): number {
    return this.#at.length;
  }

  /** The n-th, from 0. */
  get(index: number): Place | undefined {
    const at = this.#at.get(index);
    const length = this.#lengths.get(index);
    return at === undefined || length === undefined ? undefined : { at, length };
  }

  add(at: number, length: number): void {
    const index = this.count - 1;
    const before = this.#lengths.get(index) ?? 0;
    if (index >= 0 && (this.#at.get(index) ?? 0) + before === at) this.#lengths.setLast(before + length);
    else {
      this.#at.push(at);
      this.#lengths.push(length);
    }
  }

  encode(): Buffer {
    return this.#encoded(0, this.count);
  }

  /** SHA-256 of them, in hexadecimal digits: the same however they were put together. */
  digest(): string {
    const hash = createHash('sha256');
    for (let from = 0; from < this.count; from += hashedAtOnce) hash.update(this.#encoded(from, Math.min(from + hashedAtOnce, this.count)));
    return hash.digest('hex');
  }

  #encoded(from: number, to: number): Buffer {
    const encoded = Buffer.allocUnsafe((to - from) * encodedBytes);
    for (let index = from; index < to; index++) {
      writeWhole(encoded, this.#at.get(index) as number, (index - from) * encodedBytes);
      writeWhole(encoded, this.#lengths.get(index) as number, (index - from) * encodedBytes + 8);
    }
    return encoded;
  }

  /** @throws ImageError `protocol` */
  static decode(encoded: Buffer): Places {
    if (encoded.length % encodedBytes !== 0) throw new ImageError('protocol', 'places: they end within one');
    const places = new Places();
    for (let at = 0; at < encoded.length; at += encodedBytes) {
      const [position, length] = [readWhole(encoded, at), readWhole(encoded, at + 8)];
      if (!Number.isSafeInteger(position + length) || length === 0) throw new ImageError('protocol', 'places: one is not a part of a file');
      places.add(position, length);
    }
    return places;
  }
}

const word = 2 ** 32;

/** A number of 8 bytes, least first, in two halves: a BigInt for each of 300,000 is garbage of 15 MB. */
function writeWhole(into: Buffer, value: number, at: number): void {
  into.writeUInt32LE(value % word, at);
  into.writeUInt32LE(Math.floor(value / word), at + 4);
}

function readWhole(from: Buffer, at: number): number {
  return from.readUInt32LE(at) + from.readUInt32LE(at + 4) * word;
}
