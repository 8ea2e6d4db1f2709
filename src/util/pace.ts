import { type Readable, Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { bulkHighWaterMark } from './hashing.ts';

/** What may go at once after a pause, as time at the bucket's rate. Seconds. */
const burstSeconds = 0.25;

/** A wait is at least so long, so that a stream is not cut into a timer for every slice. Milliseconds. */
const shortestWait = 10;

/** What is taken at a time while there is a limit, so that streams that share a bucket take turns, and none stands still for long. Bytes. */
const slice = 16 * 1024;

export interface PaceClock {
  /** Milliseconds; only differences count. */
  now(): number;
  /** @throws the signal's reason */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

const realClock: PaceClock = {
  now: () => performance.now(),
  sleep: (milliseconds, signal) => sleep(milliseconds, undefined, { signal }),
};

/**
 * A token bucket: all who share it take together no more than its rate, beside a burst of a quarter of a second. Its
 * rate can be changed at any time; who waits then waits as the new one has it.
 */
export class TokenBucket {
  readonly #clock: PaceClock;
  #rate: number | undefined;
  /** Bytes that may go now; below zero by what went ahead. */
  #tokens = 0;
  #filled: number;
  #changed = new AbortController();
  /** Resolves when all who asked before have been served: else whoever wakes first takes all there is. */
  #served: Promise<void> = Promise.resolve();

  /** @param rate bytes per second; undefined: no limit */
  constructor(rate?: number, clock: PaceClock = realClock) {
    this.#clock = clock;
    this.#rate = rate;
    this.#filled = clock.now();
    this.#tokens = (rate ?? 0) * burstSeconds;
  }

  get rate(): number | undefined {
    return this.#rate;
  }

  /** What is best asked for at a time, up to `most`: with a limit little, so that those who share it take turns. Bytes. */
  portion(most: number): number {
    return this.#rate === undefined ? most : Math.min(most, slice);
  }

  /** @param rate bytes per second; undefined: no limit */
  setRate(rate: number | undefined): void {
    if (rate === this.#rate) return;
    this.#fill();
    // What was saved up at the old rate is no more than the new one would let be saved up.
    this.#tokens = Math.min(this.#tokens, (rate ?? 0) * burstSeconds);
    this.#rate = rate;
    this.#changed.abort();
    this.#changed = new AbortController();
  }

  /**
   * Resolves when so many bytes may go.
   *
   * @throws the signal's reason when it aborts before
   */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#rate === undefined) return signal.throwIfAborted();
    const taken = this.#served.then(() => this.#takeNext(bytes, signal));
    this.#served = taken.catch(() => undefined);
    return taken;
  }

  async #takeNext(bytes: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const rate = this.#rate;
      if (rate === undefined) return;
      this.#fill();
      if (this.#tokens > 0) {
        this.#tokens -= bytes;
        return;
      }
      const changed = this.#changed.signal;
      const left = Math.max(shortestWait, Math.ceil((-this.#tokens / rate) * 1000));
      await this.#clock.sleep(left, AbortSignal.any([signal, changed])).catch((error: unknown) => {
        if (!changed.aborted) throw error;
      });
    }
  }

  #fill(): void {
    const now = this.#clock.now();
    if (this.#rate !== undefined) {
      this.#tokens = Math.min(this.#tokens + ((now - this.#filled) * this.#rate) / 1000, this.#rate * burstSeconds);
    }
    this.#filled = now;
  }
}

/** Passes bytes on as fast as the bucket lets them. When the input fails, so does the output, with the same error; and the other way round. */
export function paced(input: Readable, bucket: TokenBucket, signal: AbortSignal): Readable {
  const output = new PacedStream(bucket, signal);
  // What went wrong is the output's error; nothing is left to be said here.
  pipeline(input, output, { signal }).catch(() => undefined);
  return output;
}

class PacedStream extends Transform {
  readonly #bucket: TokenBucket;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;

  constructor(bucket: TokenBucket, signal: AbortSignal) {
    super({ readableHighWaterMark: bulkHighWaterMark, writableHighWaterMark: bulkHighWaterMark });
    this.#bucket = bucket;
    this.#signal = AbortSignal.any([signal, this.#stop.signal]);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#pass(chunk).then(() => done(), done);
  }

  async #pass(chunk: Buffer): Promise<void> {
    let offset = 0;
    while (offset < chunk.length) {
      const end = offset + this.#bucket.portion(chunk.length - offset);
      await this.#bucket.take(end - offset, this.#signal);
      this.push(chunk.subarray(offset, end));
      offset = end;
    }
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#stop.abort(error ?? undefined);
    done(error);
  }
}
