import { setTimeout as sleep } from 'node:timers/promises';

/** How long a reader that has caught up waits before it looks again. Milliseconds. */
const lookInterval = 10;

/** Something that grows at its end until it is whole, for those who read it meanwhile. */
export class Growth {
  readonly #end: Promise<void>;
  #ended = false;

  /** @param whole resolves when nothing is appended any more; what it rejects with fails those who wait for more */
  constructor(whole: Promise<void>) {
    this.#end = whole.then(() => {
      this.#ended = true;
    });
    this.#end.catch(() => undefined);
  }

  /**
   * How many bytes there are from `position` on; waits until there are any. 0: it has ended there.
   *
   * @param size of all there is now, bytes. At once: with a promise each, looking took a tenth of a core that CRIU writes on
   */
  async beyond(position: number, size: () => number, signal: AbortSignal | undefined): Promise<number> {
    for (;;) {
      signal?.throwIfAborted();
      // Looked at before the size: what was appended before the end is seen after it.
      const last = this.#ended;
      const bytes = size();
      if (bytes > position) return bytes - position;
      if (last) return 0;
      await Promise.race([sleep(lookInterval), this.#end]);
    }
  }
}
