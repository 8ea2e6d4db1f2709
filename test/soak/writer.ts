import { setTimeout as sleep } from 'node:timers/promises';
import { RedisClient } from '../cluster/support/redis.ts';

/** Writes numbered keys one after the other, and remembers which of them were acknowledged; connects again when it has to. */
export class Writer {
  readonly #client: RedisClient;
  #acknowledged = 0;
  #stop = false;
  #running: Promise<void> | undefined;
  /** Longest time between two acknowledged writes. Milliseconds. */
  longestGap = 0;

  /** @param address of the server as it is now */
  constructor(address: () => Promise<string>) {
    this.#client = new RedisClient(address);
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  start(): this {
    this.#running = this.#write();
    return this;
  }

  async stop(): Promise<void> {
    this.#stop = true;
    await this.#running;
    this.#client.close();
  }

  /** How many of the acknowledged writes the server has lost. */
  async lost(): Promise<number> {
    let found = 0;
    for (let from = 1; from <= this.#acknowledged; from += 1000) {
      const keys = Array.from({ length: Math.min(1000, this.#acknowledged - from + 1) }, (_, index) => `w${from + index}`);
      found += Number(await this.#client.call('EXISTS', ...keys));
    }
    return this.#acknowledged - found;
  }

  async #write(): Promise<void> {
    let last = performance.now();
    while (!this.#stop) {
      try {
        await this.#client.call('SET', `w${this.#acknowledged + 1}`, 'x'.repeat(100));
        this.#acknowledged++;
        this.longestGap = Math.max(this.longestGap, performance.now() - last);
        last = performance.now();
        await sleep(2);
      } catch {
        await sleep(20);
      }
    }
  }
}
