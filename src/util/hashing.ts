import { createHash, type Hash } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';

/** Buffer between two streams of a bulk transfer, in bytes: large enough that the hops cost little, small enough to bound memory. */
export const bulkHighWaterMark = 1024 * 1024;

/**
 * Passes bytes through, hashing (sha256) and counting them. `check` sees the result before the end is signalled: the
 * error it returns fails the stream, so that a reader never takes wrong content for whole.
 */
export class HashingStream extends Transform {
  /** Bytes seen so far. */
  bytes = 0;
  readonly #hash: Hash = createHash('sha256');
  #digest: string | undefined;
  readonly #check: ((digest: string, bytes: number) => Error | undefined) | undefined;
  readonly #onProgress: ((bytes: number) => void) | undefined;

  constructor(
    options: { check?: (digest: string, bytes: number) => Error | undefined; onProgress?: ((bytes: number) => void) | undefined } = {},
  ) {
    super({ readableHighWaterMark: bulkHighWaterMark, writableHighWaterMark: bulkHighWaterMark });
    this.#check = options.check;
    this.#onProgress = options.onProgress;
  }

  /** `sha256:…` of everything that passed; only after the input ended. */
  get digest(): string {
    this.#digest ??= `sha256:${this.#hash.digest('hex')}`;
    return this.#digest;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#hash.update(chunk);
    this.bytes += chunk.length;
    this.#onProgress?.(this.bytes);
    done(null, chunk);
  }

  override _flush(done: TransformCallback): void {
    done(this.#check?.(this.digest, this.bytes) ?? null);
  }
}
