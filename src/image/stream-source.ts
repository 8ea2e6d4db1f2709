import type { Readable } from 'node:stream';
import type { AppendedSource } from './appended.ts';

/** A stream as an appended source that is read once, from its beginning; it keeps what was asked for and not read yet. */
export class StreamSource implements AppendedSource {
  readonly #stream: Readable;
  readonly #chunks: AsyncIterator<Buffer>;
  #pieces: Buffer[] = [];
  /** Where the first of them begins, and the last ends. */
  #start = 0;
  #end = 0;
  #done = false;

  constructor(stream: Readable) {
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  async available(position: number, signal: AbortSignal | undefined): Promise<number> {
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    aborted.catch(() => undefined);
    const stop = () => reject(signal?.reason);
    signal?.addEventListener('abort', stop, { once: true });
    try {
      while (this.#end <= position && !this.#done) {
        signal?.throwIfAborted();
        const { value, done } = await Promise.race([this.#chunks.next(), aborted]);
        if (done) this.#done = true;
        else {
          this.#pieces.push(value);
          this.#end += value.length;
        }
      }
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    return Math.max(0, this.#end - position);
  }

  async read(buffer: Buffer, position: number): Promise<number> {
    if (position !== this.#start) throw new RangeError(`a stream is at byte ${this.#start} and cannot be read at ${position}`);
    await this.available(position + buffer.length - 1, undefined);
    let filled = 0;
    while (filled < buffer.length && this.#pieces.length > 0) {
      const piece = this.#pieces[0] as Buffer;
      const copied = piece.copy(buffer, filled);
      filled += copied;
      if (copied === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(copied);
    }
    this.#start += filled;
    return filled;
  }

  /** Nobody reads on. */
  close(): void {
    this.#stream.destroy();
  }
}
