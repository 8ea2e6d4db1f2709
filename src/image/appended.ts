import { crc32 } from 'node:zlib';

/** Content that may still grow at its end, read by position, so that what got lost on the way can be read again. */
export interface AppendedSource {
  /** How many bytes there are from `position` on; waits until there are any. 0: it has ended there. */
  available(position: number, signal: AbortSignal | undefined): Promise<number>;
  /** Fills the buffer from `position` on; fewer bytes than it takes only when there are no more. */
  read(buffer: Buffer, position: number): Promise<number>;
  /** Of a patch: tells where in the patched blob so many bytes from `position` on belong, of what is said to be available. */
  places?(position: number, length: number, each: (at: number, length: number) => void): void;
}

/** How fast it may go. */
export interface Pace {
  /** Bytes per second; undefined: no limit. */
  readonly rate?: number | undefined;
  /** The bytes, up to `most`, that are to be asked for at a time. */
  portion(most: number): number;
  /** Resolves when so many bytes may go. */
  take(bytes: number, signal: AbortSignal): Promise<void>;
}

/** Reads an appended source from its beginning to its end, into buffers of the caller's, and keeps its checksum. */
export class AppendedReader {
  readonly #source: AppendedSource;
  #position = 0;
  #crc32 = 0;
  /** What the source failed with, as opposed to where its pieces go. */
  failure: { error: unknown } | undefined;

  constructor(source: AppendedSource) {
    this.#source = source;
  }

  /** All before it has been read. */
  get position(): number {
    return this.#position;
  }

  /** CRC-32 of all before the position. */
  get crc32(): number {
    return this.#crc32;
  }

  /** @throws what the source fails with */
  available(signal: AbortSignal | undefined): Promise<number> {
    return this.#source.available(this.#position, signal);
  }

  /** All there is from the position on, if that is at most so many bytes; else undefined. Waits until one or the other is known. */
  async rest(most: number, signal: AbortSignal | undefined): Promise<number | undefined> {
    if ((await this.#source.available(this.#position + most, signal)) > 0) return undefined;
    return this.available(signal);
  }

  /** Goes back to an earlier position, of which the checksum is known. */
  rewind(to: { position: number; crc32: number }): void {
    this.#position = to.position;
    this.#crc32 = to.crc32;
  }

  /** Reads on to a position, for the checksum; the buffer is for use meanwhile. */
  async skip(to: number, buffer: Buffer): Promise<void> {
    while (this.#position < to) await this.read(buffer.subarray(0, to - this.#position));
  }

  /**
   * Fills the buffer with what comes next, of what is said to be available.
   * @throws what the source fails with; also when it has become shorter
   */
  async read(buffer: Buffer): Promise<number> {
    try {
      const read = await this.#source.read(buffer, this.#position);
      if (read === 0) throw new Error(`it ends at byte ${this.#position}, although it was longer a moment ago`);
      this.#crc32 = crc32(buffer.subarray(0, read), this.#crc32);
      this.#position += read;
      return read;
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}
