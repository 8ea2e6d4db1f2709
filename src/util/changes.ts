/** Lets many wait for the next change of a numbered thing; what `revision` and `wait` of the agent's views rest on. */
export class Changes {
  readonly #waiting = new Map<string, Set<() => void>>();

  notify(key: string): void {
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    for (const wake of waiting ?? []) wake();
  }

  /** Resolves at the next change of `key`, at the latest after `limit` milliseconds or when the signal aborts. */
  next(key: string, limit: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const set = this.#waiting.get(key) ?? new Set();
      this.#waiting.set(key, set);
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        set.delete(done);
        if (set.size === 0 && this.#waiting.get(key) === set) this.#waiting.delete(key);
        resolve();
      };
      const timer = setTimeout(done, limit);
      set.add(done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }
}
