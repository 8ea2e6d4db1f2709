/** What is assumed until something was measured: a disk's cache, and a network of 2.5 Gbit/s. Bytes per second. */
const assumed = { dump: 800e6, send: 300e6 };

/** Less says more about the beginning than about the rate: 64 MiB made a disk look three times as slow as 1 GiB did. Bytes. */
const least = 256 << 20;

/** How fast this node's checkpoints were written and sent of late. */
export class Rates {
  readonly #rates = { ...assumed };

  /** Bytes per second. */
  get dump(): number {
    return this.#rates.dump;
  }

  /** @param limit bytes per second that the sending may not exceed */
  send(limit: number | undefined): number {
    return Math.min(this.#rates.send, limit ?? this.#rates.send);
  }

  /** Half of what is known is from what was seen last. Bytes, milliseconds. */
  seen(what: keyof typeof assumed, bytes: number, milliseconds: number): void {
    if (bytes < least || milliseconds <= 0) return;
    this.#rates[what] = (this.#rates[what] + (bytes * 1000) / milliseconds) / 2;
  }
}
