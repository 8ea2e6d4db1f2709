import type { KubeClient } from './client.ts';
import { backoff, sleep } from './deadline.ts';
import { KubeError } from './errors.ts';
import type { KubeObject, Resource, Selection } from './types.ts';
import { watch } from './watch.ts';

/** Where a reflector puts what it sees. Called in order, never at the same time; must not throw. */
export interface Sink<T> {
  /** Everything there is, from a fresh list. */
  replace(objects: T[]): void;
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void;
}

export interface ReflectorOptions extends Selection {
  /** A watch that is silent this long is cut and begun again; the API server is asked to end it a little sooner by itself. Milliseconds, default 120,000. */
  idleDeadline?: number | undefined;
  /** Lists anew this often although nothing is wrong. Milliseconds; default never. */
  relistEvery?: number | undefined;
  /** First and longest wait after a failure. Milliseconds, default 200 and 30,000. */
  backoff?: { base: number; maximum: number } | undefined;
  /** Objects a page of the list. */
  pageSize?: number | undefined;
  /** Told about every failure; the reflector carries on by itself. */
  onError?: ((error: unknown) => void) | undefined;
}

export interface ReflectorStats {
  lists: number;
  watches: number;
  events: number;
  failures: number;
}

/** A watch that ended sooner than this without an event counts as a failure, so that no server makes us spin. Milliseconds. */
const shortestHealthyWatch = 1000;

/** After so many failures in a row a watch is not taken up again, but begun anew with a list. */
const watchFailuresBeforeList = 5;

/**
 * Keeps a sink in step with the API server: list, then watch from there on; a watch that ends is taken up where it
 * stopped, a version that is gone (410) leads to a new list. Lists ask for the newest state (no resourceVersion: a
 * consistent read), so what the sink holds never goes back in time when another API server answers.
 */
export class Reflector<T extends KubeObject> {
  readonly stats: ReflectorStats = { lists: 0, watches: 0, events: 0, failures: 0 };
  readonly #client: KubeClient;
  readonly #resource: Resource<T>;
  readonly #sink: Sink<T>;
  readonly #options: ReflectorOptions;
  readonly #stopped = new AbortController();
  #running: Promise<void> | undefined;
  #lastEvent = performance.now();
  #failures = 0;

  constructor(client: KubeClient, resource: Resource<T>, sink: Sink<T>, options: ReflectorOptions = {}) {
    this.#client = client;
    this.#resource = resource;
    this.#sink = sink;
    this.#options = options;
  }

  start(): void {
    this.#stopped.signal.throwIfAborted();
    this.#running ??= this.#run();
  }

  /** No call of the sink after this resolves. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error('stopped'));
    await this.#running;
  }

  /** Milliseconds since the API server said anything: a list, an event, a bookmark, the regular end of a watch. More than the idle deadline: something is wrong. */
  lastEventAge(): number {
    return performance.now() - this.#lastEvent;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      try {
        let version = await this.#list();
        const relistAt = performance.now() + (this.#options.relistEvery ?? Number.POSITIVE_INFINITY);
        while (!signal.aborted && performance.now() < relistAt) {
          try {
            version = await this.#watch(version, relistAt);
          } catch (error) {
            if (!(error instanceof WatchFailure)) throw error;
            version = error.version;
            // The state after this version is gone; only a new list helps.
            if (error.cause instanceof KubeError && error.cause.isGone) throw error.cause;
            await this.#failed(error.cause);
            // A version from the future (etcd restored from a backup) would be refused for ever.
            if (this.#failures > 0 && this.#failures % watchFailuresBeforeList === 0) break;
          }
        }
      } catch (error) {
        await this.#failed(error);
      }
    }
  }

  async #list(): Promise<string> {
    this.stats.lists++;
    const { namespace, labelSelector, fieldSelector, pageSize } = this.#options;
    const { signal } = this.#stopped;
    // A large list takes longer than a single object.
    const list = await this.#client.list(this.#resource, {
      namespace,
      labelSelector,
      fieldSelector,
      limit: pageSize,
      deadline: 30_000,
      signal,
    });
    signal.throwIfAborted();
    this.#lastEvent = performance.now();
    this.#sink.replace(list.items);
    return list.resourceVersion;
  }

  /** @returns the version to go on from, when the server ended the watch */
  async #watch(from: string, relistAt: number): Promise<string> {
    this.stats.watches++;
    const { namespace, labelSelector, fieldSelector, idleDeadline = 120_000 } = this.#options;
    const begun = performance.now();
    // The server ends a healthy watch before it could be taken for dead: bookmarks alone do not show that it lives, the
    // API server sends none for a resource that nothing happened to since it started. Spread, so that watches do not
    // all end together.
    const longest = Math.min(idleDeadline, 600_000) * (0.6 + 0.3 * Math.random());
    const timeoutSeconds = Math.max(1, Math.floor(Math.min(longest, relistAt - begun) / 1000));
    let version = from;
    let seen = 0;
    try {
      const events = watch(this.#client, this.#resource, {
        namespace,
        labelSelector,
        fieldSelector,
        resourceVersion: from,
        timeoutSeconds,
        idleDeadline,
        signal: this.#stopped.signal,
      });
      for await (const event of events) {
        if (this.#stopped.signal.aborted) return version;
        seen++;
        this.#lastEvent = performance.now();
        this.#failures = 0;
        if (event.type !== 'BOOKMARK') {
          this.stats.events++;
          this.#sink.apply(event.type, event.object);
        }
        version = event.object.metadata.resourceVersion ?? version;
      }
    } catch (error) {
      throw new WatchFailure(version, error);
    }
    if (seen === 0 && performance.now() - begun < Math.min(shortestHealthyWatch, timeoutSeconds * 500)) {
      throw new WatchFailure(version, new Error(`the API server ended a watch of ${this.#resource.plural} at once`));
    }
    this.#lastEvent = performance.now();
    return version;
  }

  async #failed(error: unknown): Promise<void> {
    const { signal } = this.#stopped;
    if (signal.aborted) return;
    this.stats.failures++;
    this.#failures++;
    try {
      this.#options.onError?.(error);
    } catch {
      // A broken logger must not end the watching.
    }
    // Not a fault of anybody's: lists at once, but still not in a loop without a pause.
    const gone = error instanceof KubeError && error.isGone && this.#failures === 1;
    const { base, maximum } = this.#options.backoff ?? { base: 200, maximum: 30_000 };
    const asked = error instanceof KubeError ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
    const wait = gone ? 0 : Math.max(asked, backoff(this.#failures, base, maximum));
    await sleep(wait, signal).catch(() => {});
  }
}

/** Carries the version a failed watch had come to. */
class WatchFailure extends Error {
  readonly version: string;

  constructor(version: string, cause: unknown) {
    super('the watch failed', { cause });
    this.version = version;
  }
}
