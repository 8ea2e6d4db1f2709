import { messageOf } from '../util/errors.ts';
import type { KubeClient } from './client.ts';
import { KubeError, noAnswer, type Status } from './errors.ts';
import { type KubeObject, pathOf, type Resource, type Selection } from './types.ts';

export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  /** Nothing happened up to this resourceVersion; only that field of the object is meant. */
  | { type: 'BOOKMARK'; object: T };

export interface WatchOptions extends Selection {
  /** Events after this version. */
  resourceVersion: string;
  /** The server ends the stream after this time. Seconds. */
  timeoutSeconds: number;
  /** A stream that says nothing for this long is taken for dead and cut. Milliseconds. */
  idleDeadline: number;
  signal: AbortSignal;
}

/** An object in etcd is at most 1.5 MiB, as JSON perhaps some times that; more than this is no watch event. Characters. */
const longestLine = 64 * 1024 * 1024;

/**
 * The events of one watch, until the server ends it (the iteration returns) or something goes wrong (it throws).
 *
 * @throws KubeError: refused (`isGone`: list again), reset, silent for too long, cut in the middle of a line, an ERROR event
 */
export async function* watch<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  options: WatchOptions,
): AsyncGenerator<WatchEvent<T>, void, void> {
  const path = pathOf(resource, options.namespace);
  const name = `WATCH ${client.server}${path}`;
  const idle = new IdleTimer(options.idleDeadline, options.signal);
  try {
    const body = await client.stream({
      method: 'GET',
      path,
      query: {
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: options.resourceVersion,
        timeoutSeconds: options.timeoutSeconds,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
      },
      deadline: Math.min(options.idleDeadline, 30_000),
      signal: idle.signal,
    });
    // The server's end of a stream is clean only between two lines.
    let rest = '';
    const decoder = new TextDecoder();
    idle.restart();
    for await (const chunk of body) {
      // Time spent by whoever takes the events is not the server's silence.
      idle.pause();
      rest += decoder.decode(chunk as Buffer, { stream: true });
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > longestLine) throw bad(name, `a line of more than ${longestLine} characters`);
      for (const line of lines) if (line.trim()) yield parse<T>(line, name);
      idle.restart();
    }
    if (rest.trim()) throw bad(name, `the stream ended in the middle of a line: ${rest.slice(0, 80)}`);
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof KubeError) throw error;
    if (idle.expired) {
      const message = `silent for ${options.idleDeadline / 1000} s, not even a bookmark`;
      throw new KubeError(name, { status: 0, reason: noAnswer.deadlineExceeded, message });
    }
    throw new KubeError(name, { status: 0, reason: noAnswer.connectionFailed, message: messageOf(error) }, { cause: error });
  } finally {
    // Also when the caller stops iterating: the connection must not stay open.
    idle.end();
  }
}

function parse<T extends KubeObject>(line: string, name: string): WatchEvent<T> {
  let event: { type: string; object: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (error) {
    throw bad(name, `not JSON: ${line.slice(0, 80)}`, error);
  }
  switch (event.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
    case 'BOOKMARK':
      return { type: event.type, object: event.object as T };
    case 'ERROR': {
      const status = event.object as Status;
      const retryAfterSeconds = status.details?.retryAfterSeconds;
      throw new KubeError(name, {
        status: status.code ?? 500,
        reason: status.reason ?? 'Unknown',
        message: status.message ?? 'no message',
        retryAfterSeconds,
      });
    }
    default:
      throw bad(name, `an event of unknown type ${JSON.stringify(event.type)}`);
  }
}

function bad(name: string, message: string, cause?: unknown): KubeError {
  return new KubeError(name, { status: 0, reason: noAnswer.badAnswer, message }, { cause });
}

/** A signal that aborts with the caller's, or when `restart` is not called again in time. */
class IdleTimer {
  expired = false;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal;
  readonly #deadline: number;
  readonly #abort: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(deadline: number, caller: AbortSignal) {
    this.#deadline = deadline;
    this.#caller = caller;
    this.#abort = () => this.#controller.abort(caller.reason);
    if (caller.aborted) this.#abort();
    else caller.addEventListener('abort', this.#abort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  restart(): void {
    this.pause();
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#controller.abort(new Error('idle'));
    }, this.#deadline);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.pause();
    this.#caller.removeEventListener('abort', this.#abort);
    this.#controller.abort(new Error('the watch has ended'));
  }
}
