import { backoff } from './deadline.ts';

/** Injected so that tests need not wait. */
export interface Timers {
  set(callback: () => void, milliseconds: number): unknown;
  clear(timer: unknown): void;
  /** Monotonic, milliseconds. */
  now(): number;
}

const realTimers: Timers = {
  set: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clear: (timer) => clearTimeout(timer as NodeJS.Timeout),
  now: () => performance.now(),
};

export interface WorkQueueOptions {
  /** Keys worked on at the same time. Default 1. */
  concurrency?: number;
  /** Wait after the first failure of a key; doubles with every further one. Milliseconds, default 50. */
  baseDelay?: number;
  /** Longest wait after a failure. Milliseconds, default 60,000. */
  maximumDelay?: number;
  /** In [0, 1): which part of the jittered half of a wait is waited. */
  random?: () => number;
  timers?: Timers;
  /** Keys that are worked on before others that are ready (which get every eighth turn); asked when a key becomes ready. Default none. */
  first?: (key: string) => boolean;
  /** Told of every failure and when the key comes again (milliseconds). */
  onError?: (key: string, error: unknown, retryAfter: number) => void;
}

/** Keys that go first are taken so many times in a row while others wait, so that those come to their turn at all. */
const mostInRow = 7;

/** Does the work of one key. Throwing brings the key back after a wait that grows; the signal says that the queue is being stopped. */
export type Work = (key: string, signal: AbortSignal) => Promise<void>;

/**
 * Keys to be worked on, level-triggered: a key that waits is there once however often it is added; one that is added
 * while it is worked on comes again afterwards; no key is worked on twice at the same time.
 */
export class WorkQueue {
  readonly #work: Work;
  readonly #concurrency: number;
  readonly #baseDelay: number;
  readonly #maximumDelay: number;
  readonly #random: () => number;
  readonly #timers: Timers;
  readonly #onError: (key: string, error: unknown, retryAfter: number) => void;
  readonly #isFirst: (key: string) => boolean;
  /** In order of arrival. */
  readonly #ready = new Set<string>();
  /** Those of them that are worked on before the others. */
  readonly #first = new Set<string>();
  /** How many of these were taken since the last of the others. */
  #firstInRow = 0;
  readonly #processing = new Set<string>();
  /** Added while worked on. */
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, { at: number; timer: unknown }>();
  readonly #failures = new Map<string, number>();
  readonly #stopping = new AbortController();
  #started = false;
  #draining = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(work: Work, options: WorkQueueOptions = {}) {
    this.#work = work;
    this.#concurrency = options.concurrency ?? 1;
    this.#baseDelay = options.baseDelay ?? 50;
    this.#maximumDelay = options.maximumDelay ?? 60_000;
    this.#random = options.random ?? Math.random;
    this.#timers = options.timers ?? realTimers;
    this.#onError = options.onError ?? (() => {});
    this.#isFirst = options.first ?? (() => false);
  }

  /** Keys that are ready or being worked on, for metrics. */
  get depth(): number {
    return this.#ready.size + this.#first.size + this.#processing.size;
  }

  /** Keys whose time has not come. */
  get delayed(): number {
    return this.#delayed.size;
  }

  /** Keys may be added before; work begins here. */
  start(): this {
    this.#started = true;
    this.#next();
    return this;
  }

  /** Work on the key as soon as there is room, also when it waits out a failure. Nothing after a drain began. */
  add(key: string): void {
    if (this.#draining) return;
    if (this.#processing.has(key)) this.#again.add(key);
    else this.#enter(key);
    this.#next();
  }

  /** Add the key later. Of several times asked for the soonest counts. Milliseconds. */
  addAfter(key: string, milliseconds: number): void {
    if (this.#draining) return;
    if (milliseconds <= 0) {
      this.add(key);
      return;
    }
    const at = this.#timers.now() + milliseconds;
    const before = this.#delayed.get(key);
    if (before && before.at <= at) return;
    if (before) this.#timers.clear(before.timer);
    const timer = this.#timers.set(() => {
      this.#delayed.delete(key);
      this.add(key);
    }, milliseconds);
    this.#delayed.set(key, { at, timer });
  }

  /** How often the key has failed in a row. */
  failuresOf(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /**
   * Takes nothing new, drops what waits, lets what is being worked on come to its end; after `grace` milliseconds that
   * work's signal aborts. Resolves when no work is under way.
   */
  async drain(grace: number): Promise<void> {
    this.#draining = true;
    this.#ready.clear();
    this.#first.clear();
    this.#again.clear();
    for (const { timer } of this.#delayed.values()) this.#timers.clear(timer);
    this.#delayed.clear();
    if (this.#processing.size === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    const abort = () => this.#stopping.abort(new Error('the work queue is being stopped'));
    const timer = grace > 0 ? this.#timers.set(abort, grace) : undefined;
    if (grace <= 0) abort();
    await this.#idle.promise;
    if (timer !== undefined) this.#timers.clear(timer);
  }

  #enter(key: string): void {
    if (this.#isFirst(key)) {
      this.#ready.delete(key);
      this.#first.add(key);
    } else if (!this.#first.has(key)) this.#ready.add(key);
  }

  #next(): void {
    if (!this.#started) return;
    while (this.#processing.size < this.#concurrency && this.#first.size + this.#ready.size > 0) {
      const othersTurn = this.#first.size === 0 || (this.#ready.size > 0 && this.#firstInRow >= mostInRow);
      this.#firstInRow = othersTurn ? 0 : this.#firstInRow + 1;
      const ready = othersTurn ? this.#ready : this.#first;
      const [key = ''] = ready;
      ready.delete(key);
      this.#processing.add(key);
      void this.#process(key);
    }
  }

  async #process(key: string): Promise<void> {
    try {
      await this.#work(key, this.#stopping.signal);
      this.#failures.delete(key);
    } catch (error) {
      this.#failed(key, error);
    }
    this.#processing.delete(key);
    if (this.#again.delete(key)) this.#enter(key);
    if (this.#processing.size === 0) this.#idle?.resolve();
    this.#next();
  }

  #failed(key: string, error: unknown): void {
    if (this.#draining) return;
    const failures = this.failuresOf(key) + 1;
    this.#failures.set(key, failures);
    const wait = backoff(failures, this.#baseDelay, this.#maximumDelay, this.#random);
    this.addAfter(key, wait);
    try {
      this.#onError(key, error, wait);
    } catch {
      // A broken logger must not lose the key.
    }
  }
}
