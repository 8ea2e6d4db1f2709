import { randomBytes } from 'node:crypto';
import type { KubeClient } from './client.ts';
import { backoff, sleep } from './deadline.ts';
import { KubeError } from './errors.ts';
import { events, type KubeEvent } from './resources.ts';
import { microTime } from './time.ts';
import type { KubeObject } from './types.ts';

export interface Note {
  type: 'Normal' | 'Warning';
  /** CamelCase, at most 128 characters; the reason of a condition where there is one. */
  reason: string;
  /** For people. Cut at 1 kB, the most the API takes. */
  message: string;
  /** What was being done; the reason again when left out. */
  action?: string;
}

export interface RecorderOptions {
  /** Which program, e.g. `podferry.io/controller`. */
  controller: string;
  /** Which instance of it: the pod's name. */
  instance: string;
  onError?: (error: unknown) => void;
  /** The same event within this time is counted, not written again. Milliseconds, default 6 min (client-go). */
  seriesWindow?: number;
  /** How often the count of a series is written at most. Milliseconds, default 10 s. */
  seriesInterval?: number;
  /** Different events of one object: so many at once, then one every `refill` milliseconds. Defaults 25 and 300,000 (client-go). */
  burst?: number;
  refill?: number;
  now?: () => number;
}

/** Events written or counted lately; older ones are forgotten first. */
const mostSeries = 4096;
/** Events on their way to the API server; more are dropped. */
const longestQueue = 1000;
/** An API server that restarts is back within these tries (about 10 s of waiting, and the calls' own deadlines). */
const mostTries = 6;

interface Series {
  event: KubeEvent;
  count: number;
  lastSeen: number;
  /** When the count was last written. */
  writtenAt: number;
  dirty: boolean;
}

/**
 * Tells people what happens to an object, as Events (events.k8s.io/v1). Never throws and never waits: events are written
 * one after the other in the background, the same ones are counted, too many are dropped. An API server that does not
 * answer costs events and nothing else.
 */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #options: Required<RecorderOptions>;
  readonly #series = new Map<string, Series>();
  readonly #buckets = new Map<string, { tokens: number; at: number }>();
  readonly #queue: Series[] = [];
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Aborts what is under way when a stop takes too long. */
  readonly #cut = new AbortController();
  #stopped = false;
  /** Events that were never written: the queue was full, the object has had too many, or the API server refused. */
  dropped = 0;

  constructor(client: KubeClient, options: RecorderOptions) {
    this.#client = client;
    this.#options = {
      onError: () => {},
      seriesWindow: 360_000,
      seriesInterval: 10_000,
      burst: 25,
      refill: 300_000,
      now: Date.now,
      ...options,
    };
  }

  /** Records something about an object; its `apiVersion` and `kind` must be there. */
  record(regarding: KubeObject, note: Note): void {
    if (this.#stopped) return;
    try {
      this.#record(regarding, note);
    } catch (error) {
      this.#report(error);
    }
  }

  /** Resolves when everything recorded so far is written or given up. */
  async flush(): Promise<void> {
    this.#enqueueDirty(Number.POSITIVE_INFINITY);
    while (this.#writing) await this.#writing;
  }

  /** Takes no more and writes what is left, for at most so many milliseconds. */
  async stop(grace = 5000): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const timer = setTimeout(() => this.#cut.abort(new Error('the event recorder is being stopped')), grace);
    await this.flush();
    clearTimeout(timer);
  }

  #record(regarding: KubeObject, note: Note): void {
    const { seriesWindow, now } = this.#options;
    const at = now();
    const { namespace = '', name, uid = '' } = regarding.metadata;
    const key = [regarding.apiVersion, regarding.kind, namespace, name, uid, note.type, note.reason, note.action, note.message].join('\n');
    const known = this.#series.get(key);
    if (known && at - known.lastSeen < seriesWindow) {
      known.count++;
      known.lastSeen = at;
      known.dirty = true;
      // The most recently seen last: the first are the ones to forget.
      this.#series.delete(key);
      this.#series.set(key, known);
      this.#wakeForSeries();
      return;
    }
    if (!this.#allowed(`${namespace}/${name}/${uid}`, at) || this.#queue.length >= longestQueue) {
      this.dropped++;
      return;
    }
    const series: Series = { event: this.#eventOf(regarding, note, at), count: 1, lastSeen: at, writtenAt: at, dirty: false };
    this.#series.delete(key);
    this.#series.set(key, series);
    for (const oldest of this.#series.keys()) {
      if (this.#series.size <= mostSeries) break;
      this.#series.delete(oldest);
    }
    this.#enqueue(series);
  }

  #eventOf(regarding: KubeObject, note: Note, at: number): KubeEvent {
    const { apiVersion, kind } = regarding;
    const { namespace, name, uid, resourceVersion } = regarding.metadata;
    return {
      metadata: {
        name: `${name.slice(0, 230)}.${at.toString(16)}${randomBytes(4).toString('hex')}`,
        // Events of cluster-wide objects belong into the namespace "default".
        namespace: namespace || 'default',
      },
      eventTime: microTime(new Date(at)),
      reportingController: this.#options.controller,
      reportingInstance: this.#options.instance.slice(0, 128),
      action: (note.action ?? note.reason).slice(0, 128),
      reason: note.reason.slice(0, 128),
      note: cutBytes(note.message, 1024),
      type: note.type,
      regarding: JSON.parse(JSON.stringify({ apiVersion, kind, namespace, name, uid, resourceVersion })) as NonNullable<
        KubeEvent['regarding']
      >,
    };
  }

  /** Token bucket of one object. */
  #allowed(object: string, at: number): boolean {
    const { burst, refill } = this.#options;
    const before = this.#buckets.get(object) ?? { tokens: burst, at };
    const tokens = Math.min(burst, before.tokens + (at - before.at) / refill);
    this.#buckets.delete(object);
    this.#buckets.set(object, { tokens: tokens >= 1 ? tokens - 1 : tokens, at });
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= mostSeries) break;
      this.#buckets.delete(oldest);
    }
    return tokens >= 1;
  }

  #wakeForSeries(): void {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#enqueueDirty(this.#options.now() - this.#options.seriesInterval);
      if ([...this.#series.values()].some((series) => series.dirty)) this.#wakeForSeries();
    }, this.#options.seriesInterval);
    // Counting is no reason to keep a process alive.
    this.#timer.unref();
  }

  #enqueueDirty(writtenBefore: number): void {
    for (const series of this.#series.values()) {
      if (!series.dirty || series.writtenAt > writtenBefore || this.#queue.length >= longestQueue) continue;
      series.dirty = false;
      this.#enqueue(series);
    }
  }

  #enqueue(series: Series): void {
    if (!this.#queue.includes(series)) this.#queue.push(series);
    this.#wake();
  }

  #wake(): void {
    if (this.#writing || this.#queue.length === 0) return;
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
      // One may have come between the last look at the queue and now.
      this.#wake();
    });
  }

  async #write(): Promise<void> {
    for (let series = this.#queue.shift(); series; series = this.#queue.shift()) {
      series.writtenAt = this.#options.now();
      for (let failures = 1; failures <= mostTries; failures++) {
        try {
          await this.#writeOne(series);
          break;
        } catch (error) {
          if (failures < mostTries && isPassing(error) && !this.#cut.signal.aborted) {
            await sleep(backoff(failures, 500, 10_000), this.#cut.signal).catch(() => {});
            continue;
          }
          this.dropped++;
          this.#report(error);
          break;
        }
      }
    }
  }

  async #writeOne(series: Series): Promise<void> {
    const { event } = series;
    const options = { deadline: 5000, signal: this.#cut.signal };
    const { name, namespace } = event.metadata;
    // The first write of an event that came several times meanwhile already carries its count.
    const counted = series.count > 1 ? { series: { count: series.count, lastObservedTime: microTime(new Date(series.lastSeen)) } } : {};
    if (event.metadata.resourceVersion === undefined) {
      try {
        series.event = await this.#client.create(events, { ...event, ...counted }, options);
      } catch (error) {
        // The name is random: it was us, and the answer got lost.
        if (!(error instanceof KubeError && error.isAlreadyExists)) throw error;
        series.event = { ...event, metadata: { ...event.metadata, resourceVersion: '' } };
      }
      return;
    }
    try {
      await this.#client.patch(events, { name, namespace }, { type: 'merge', body: counted }, options);
    } catch (error) {
      if (!(error instanceof KubeError && error.isNotFound)) throw error;
      // The event outlived the API server's --event-ttl: write it anew.
      const { resourceVersion: _gone, uid: _too, creationTimestamp: _and, ...metadata } = event.metadata;
      series.event = await this.#client.create(events, { ...event, metadata, ...counted }, options);
    }
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // Never throws, whatever the logger does.
    }
  }
}

/** Cut to so many bytes of UTF-8, no character cut in two. */
function cutBytes(text: string, most: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= most) return text;
  return `${new TextDecoder().decode(bytes.subarray(0, most - 6), { stream: true })}…`;
}

/** Nobody answered, or the API server is overloaded or ends: another try may succeed. */
function isPassing(error: unknown): boolean {
  return error instanceof KubeError && (error.isUnreachable || error.isTooManyRequests || error.status >= 500);
}
