/** A rate at which something goes on small and on large memory; bytes per second. */
interface Rate {
  small: number;
  large: number;
}

/** What is assumed until something was measured: a disk's cache, and a network of 2.5 Gbit/s; with what it takes to begin. */
const assumed = { dump: { small: 200e6, large: 800e6 }, send: { small: 100e6, large: 300e6 } } satisfies Record<string, Rate>;

/** Large is from here on. With less, the beginning takes about as long as the rest: 64 MiB made a disk look three times as slow as 1 GiB did. Bytes. */
const largeFrom = 256 << 20;

/** Less says nothing of a rate. Bytes. */
const least = 32 << 20;

/** Whether beginning takes a good part of the time. Bytes. */
export const isSmall = (bytes: number): boolean => bytes < largeFrom;

const classOf = (bytes: number): keyof Rate => (isSmall(bytes) ? 'small' : 'large');

/** How fast this node's checkpoints were written and sent of late. */
export class Rates {
  readonly #rates: Record<keyof typeof assumed, Rate> = { dump: { ...assumed.dump }, send: { ...assumed.send } };

  /** For so many bytes; bytes per second. */
  dump(bytes: number): number {
    return this.#rates.dump[classOf(bytes)];
  }

  /**
   * For so many bytes; bytes per second.
   *
   * @param limit bytes per second that the sending may not exceed
   */
  send(bytes: number, limit: number | undefined): number {
    const rate = this.#rates.send[classOf(bytes)];
    return Math.min(rate, limit ?? rate);
  }

  /**
   * Half of what is known is from what was seen last. Bytes, milliseconds.
   *
   * @param limit bytes per second that it could not exceed: what came near says nothing of those that may
   */
  seen(what: keyof typeof assumed, bytes: number, milliseconds: number, limit?: number): void {
    if (bytes < least || milliseconds <= 0) return;
    if (limit !== undefined && (bytes * 1000) / milliseconds > limit / 2) return;
    const rate = this.#rates[what];
    const size = classOf(bytes);
    rate[size] = (rate[size] + (bytes * 1000) / milliseconds) / 2;
  }
}
