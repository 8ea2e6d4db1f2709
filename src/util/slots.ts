/** So many may do something at the same time; the others wait, in the order in which they came. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Resolves when there is one, with what gives it back; to be called once, more does nothing.
   * @throws the signal's reason
   */
  async take(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#turn(signal);
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    };
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting.splice(this.#waiting.indexOf(served), 1);
        reject(signal?.reason);
      };
      const served = () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      this.#waiting.push(served);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }
}
