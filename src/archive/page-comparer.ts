import type { Worker } from 'node:worker_threads';
import { startThread } from '../util/thread.ts';

/** Position in the later file, position in the earlier one, and bytes, again and again; whole pages. */
type Pairs = Float64Array;

/** Stretches of the later file, each of so many bytes, one after the other; and how much further on they are to be looked for in the earlier one. Bytes, whole pages. */
export interface Stretches {
  place: number;
  count: number;
  stretch: number;
  shift: number;
}

export interface Compared {
  /** A byte for every page, 1 where they differ, or where either file is too short. */
  differs: Uint8Array;
  /** How much further on each stretch was compared. Bytes. */
  shifts?: Float64Array;
}

/** To the thread. */
export type ToPageThread = { id: number; paths: readonly [string, string]; page: number } & ({ pairs: Pairs } | Stretches);

/** From it. */
export type FromPageThread = { id: number } & (Compared | { failure: string });

/**
 * Compares pages of files in a thread of its own, which reads and compares a piece while that is in its core's cache. Read from
 * the agent's thread, with a promise for each piece, it took four times as long (1 GiB: 1.0 s), and the pod waits for it.
 */
export class PageComparer implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<Compared>>();
  #asked = 0;
  #failure: Error | undefined;

  constructor() {
    this.#worker = startThread('page-thread', import.meta.url);
    // Who waits for an answer has a reason of its own to go on.
    this.#worker.unref();
    this.#worker.on('message', (answer: FromPageThread) => {
      const asked = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ('differs' in answer) asked?.resolve(answer);
      else asked?.reject(new Error(answer.failure));
    });
    this.#worker.on('error', (error) => this.#fail(error as Error));
    this.#worker.on('exit', () => this.#fail(new Error('the thread that compares pages ended')));
  }

  /** Whether its thread has ended, and every call fails. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /**
   * @param paths the later and the earlier file
   * @param page bytes
   * @param what pairs of positions, or stretches of which it is not known where they are in the earlier file
   * @throws Error when one cannot be read
   */
  compare(paths: readonly [string, string], page: number, what: { pairs: Pairs } | Stretches): Promise<Compared> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#asked++;
    const asked = Promise.withResolvers<Compared>();
    this.#waiting.set(id, asked);
    this.#worker.postMessage({ id, paths, page, ...what } satisfies ToPageThread);
    return asked.promise;
  }

  /** What is still being compared fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}
