import type { Worker } from 'node:worker_threads';
import { startThread } from '../util/thread.ts';
import type { PartsReader } from './ranges.ts';

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

/** What is asked of the thread. */
type Asked = ({ paths: readonly [string, string]; page: number } & ({ pairs: Pairs } | Stretches)) | Gathering;

/** Position and length of parts of a file, bytes, and where their content is to go, from `bulkOffset` on one after the other. */
export interface Gathering {
  path: string;
  parts: Float64Array;
  memory: ArrayBuffer;
}

export interface Gathered {
  memory: ArrayBuffer;
  /** What was filled. */
  bytes: number;
}

/** To the thread. */
export type ToPageThread = { id: number } & Asked;

/** From it. */
export type FromPageThread = { id: number } & (Compared | Gathered | { failure: string });

/**
 * Compares and reads pages of files in a thread of its own, which reads and compares a piece while that is in its core's cache. Read
 * from the agent's thread, with a promise for each piece, it took four times as long (1 GiB: 1.0 s), and the pod waits for it.
 */
export class PageComparer implements AsyncDisposable, PartsReader {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<Compared | Gathered>>();
  #asked = 0;
  #failure: Error | undefined;

  constructor() {
    this.#worker = startThread('page-thread', import.meta.url);
    // Who waits for an answer has a reason of its own to go on.
    this.#worker.unref();
    this.#worker.on('message', (answer: FromPageThread) => {
      const asked = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ('failure' in answer) asked?.reject(new Error(answer.failure));
      else asked?.resolve(answer);
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
    return this.#ask({ paths, page, ...what }) as Promise<Compared>;
  }

  /**
   * Reads parts of a file: with a call for each page, but without what is between them.
   *
   * @throws Error when it cannot be read; the memory is lost then
   */
  gather(path: string, parts: Float64Array<ArrayBuffer>, memory: ArrayBuffer): Promise<Gathered> {
    return this.#ask({ path, parts, memory }, [parts.buffer, memory]) as Promise<Gathered>;
  }

  #ask(what: Asked, transferred: ArrayBuffer[] = []): Promise<Compared | Gathered> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#asked++;
    const asked = Promise.withResolvers<Compared | Gathered>();
    this.#waiting.set(id, asked);
    this.#worker.postMessage({ id, ...what } satisfies ToPageThread, transferred);
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
