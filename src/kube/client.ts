import { type Dispatcher, request as send } from 'undici';
import { messageOf } from '../util/errors.ts';
import type {
  DeleteOptions,
  KubeClientOptions,
  ListOptions,
  ListResult,
  Patch,
  RawRequest,
  SubresourceOptions,
  WriteOptions,
} from './calls.ts';
import type { KubeConfig } from './config.ts';
import { Connection } from './connection.ts';
import { sleep, withDeadline } from './deadline.ts';
import { KubeError, noAnswer, refusal } from './errors.ts';
import { waitBeforeRetry } from './retry.ts';
import { apiVersionOf, type CallOptions, type Draft, type KubeObject, type ObjectRef, pathOf, type Resource } from './types.ts';

export type * from './calls.ts';

const patchTypes: Record<Patch['type'], string> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  // JSON is YAML; only this content type is served everywhere.
  apply: 'application/apply-patch+yaml',
};

/**
 * The API server's REST API with raw JSON: what is read is what was sent, every unknown field in it and times as strings.
 * client-node's generated classes drop both, so they are used for types and for the kubeconfig only.
 *
 * Every call throws KubeError when it fails, and the signal's reason when the caller aborts it. A GET is repeated within
 * its deadline after a lost connection or a 429/503 that says when to come back; any call when it could not even connect.
 * Other calls are not repeated: whether they were carried out is unknown then.
 */
export class KubeClient {
  readonly #connection: Connection;
  readonly #userAgent: string;
  readonly #deadline: number;

  constructor(config: KubeConfig, options: KubeClientOptions = {}) {
    this.#connection = new Connection(config);
    this.#userAgent = options.userAgent ?? 'podferry';
    this.#deadline = options.deadline ?? 10_000;
  }

  /** The API server's address, for messages. */
  get server(): string {
    return this.#connection.server;
  }

  async get<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options: CallOptions & SubresourceOptions = {}): Promise<T> {
    const path = pathOf(resource, ref.namespace, ref.name, options.subresource);
    return (await this.request({ ...call(options), method: 'GET', path })) as T;
  }

  /** Like `get`, but `undefined` for an object that does not exist. */
  async find<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options: CallOptions = {}): Promise<T | undefined> {
    try {
      return await this.get(resource, ref, options);
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound) return undefined;
      throw error;
    }
  }

  /**
   * All objects, in pages of one consistent state. Items get the `apiVersion` and `kind` that the API server leaves out
   * in lists, so that they equal what `get` and watches give.
   */
  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<ListResult<T>> {
    try {
      return await this.#listPages(resource, options, options.limit ?? 500);
    } catch (error) {
      // The state of the first page was compacted away before the last one was read: all at once then, as client-go does.
      if (error instanceof KubeError && error.isGone) return this.#listPages(resource, options, 0);
      throw error;
    }
  }

  async create<T extends KubeObject>(resource: Resource<T>, object: T | Draft<T>, options: WriteOptions = {}): Promise<T> {
    const path = pathOf(resource, resource.namespaced ? namespaceOf(resource, object) : undefined);
    return (await this.request({ ...call(options), method: 'POST', path, query: writeQuery(options), body: typed(resource, object) })) as T;
  }

  /** Replaces the whole object; a `resourceVersion` in it makes that fail with a conflict when somebody else was faster. */
  async replace<T extends KubeObject>(resource: Resource<T>, object: T, options: WriteOptions & SubresourceOptions = {}): Promise<T> {
    const path = pathOf(resource, object.metadata.namespace, object.metadata.name, options.subresource);
    return (await this.request({ ...call(options), method: 'PUT', path, query: writeQuery(options), body: typed(resource, object) })) as T;
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    patch: Patch,
    options: WriteOptions & SubresourceOptions = {},
  ): Promise<T> {
    const apply = patch.type === 'apply';
    if (apply && !options.fieldManager) throw new TypeError('server-side apply needs a fieldManager');
    return (await this.request({
      ...call(options),
      method: 'PATCH',
      path: pathOf(resource, ref.namespace, ref.name, options.subresource),
      query: { ...writeQuery(options), ...(apply ? { force: patch.force ?? false } : {}) },
      body: patch.body,
      contentType: patchTypes[patch.type],
    })) as T;
  }

  /** Deletes, or begins to: finalizers and grace periods go on after the answer. */
  async delete<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options: DeleteOptions = {}): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', ...deleteBody(options) };
    await this.request({ ...call(options), method: 'DELETE', path: pathOf(resource, ref.namespace, ref.name), body });
  }

  /**
   * Asks for the eviction of a pod (policy/v1), so that disruption budgets are heeded.
   *
   * @throws KubeError with `isTooManyRequests` when a budget or a webhook says: not now
   */
  async evict(ref: ObjectRef, options: DeleteOptions = {}): Promise<void> {
    const path = `/api/v1/namespaces/${encodeURIComponent(ref.namespace ?? '')}/pods/${encodeURIComponent(ref.name)}/eviction`;
    const metadata = { name: ref.name, namespace: ref.namespace };
    const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata, deleteOptions: deleteBody(options) };
    await this.request({ ...call(options), method: 'POST', path, body });
  }

  /** Any call; the parsed JSON answer, or text when it is none. */
  async request(options: RawRequest): Promise<unknown> {
    const name = this.#nameOf(options.method, options.path);
    return withDeadline(options.deadline ?? this.#deadline, options.signal, async (signal) => {
      for (let failures = 1; ; failures++) {
        try {
          return await this.#once(options, name, signal);
        } catch (error) {
          const failure = signal.aborted ? abortedError(name, signal, options.signal) : error;
          const wait = signal.aborted ? undefined : waitBeforeRetry(failure, failures, options);
          if (wait === undefined) throw failure;
          if (failure instanceof KubeError && failure.status === 401) this.#connection.distrust();
          // The deadline may end the wait: what was tried last says more than that.
          await sleep(wait, signal).catch(() => {
            options.signal?.throwIfAborted();
            throw failure;
          });
        }
      }
    });
  }

  /**
   * An answer as a stream, for watches. Only the wait for its head is bounded by the deadline.
   *
   * @throws KubeError for any answer but 200
   */
  async stream(options: RawRequest & { signal: AbortSignal }): Promise<Dispatcher.ResponseData['body']> {
    const name = this.#nameOf(options.method, options.path);
    const stopped = new AbortController();
    const stop = () => stopped.abort(options.signal.reason);
    options.signal.addEventListener('abort', stop, { once: true });
    try {
      return await withDeadline(options.deadline ?? this.#deadline, options.signal, async (head) => {
        const cut = () => stopped.abort(head.reason);
        head.addEventListener('abort', cut, { once: true });
        try {
          const response = await this.#send(options, stopped.signal);
          if (response.statusCode !== 200)
            throw refusal(name, response.statusCode, await response.body.text(), response.headers['retry-after']);
          // From here on the stream belongs to the caller, whose signal ends it.
          response.body.once('close', () => options.signal.removeEventListener('abort', stop));
          return response.body;
        } catch (error) {
          throw head.aborted ? abortedError(name, head, options.signal) : connectionError(name, error);
        } finally {
          head.removeEventListener('abort', cut);
        }
      });
    } catch (error) {
      options.signal.removeEventListener('abort', stop);
      if (error instanceof KubeError && error.status === 401) this.#connection.distrust();
      throw error;
    }
  }

  /** Ends all connections, also those of watches. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  async #listPages<T extends KubeObject>(resource: Resource<T>, options: ListOptions, limit: number): Promise<ListResult<T>> {
    const items: T[] = [];
    const apiVersion = apiVersionOf(resource);
    let next: string | undefined;
    for (;;) {
      const query = {
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
        limit: limit || undefined,
        continue: next,
      };
      const page = (await this.request({ ...call(options), method: 'GET', path: pathOf(resource, options.namespace), query })) as Page<T>;
      for (const item of page.items ?? []) items.push({ apiVersion, kind: resource.kind, ...item });
      next = page.metadata.continue || undefined;
      if (!next) return { items, resourceVersion: page.metadata.resourceVersion ?? '' };
    }
  }

  async #once(options: RawRequest, name: string, signal: AbortSignal): Promise<unknown> {
    let text: string;
    try {
      const response = await this.#send(options, signal);
      text = await response.body.text();
      if (response.statusCode >= 300) throw refusal(name, response.statusCode, text, response.headers['retry-after']);
      if (!String(response.headers['content-type']).includes('json')) return text;
    } catch (error) {
      throw connectionError(name, error);
    }
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new KubeError(
        name,
        { status: 0, reason: noAnswer.badAnswer, message: `the answer is no JSON: ${text.slice(0, 200)}` },
        { cause: error },
      );
    }
  }

  async #send(options: RawRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { server, headers, dispatcher } = await this.#connection.authorize();
    const url = new URL(server + options.path);
    for (const [key, value] of Object.entries(options.query ?? {})) if (value !== undefined) url.searchParams.set(key, String(value));
    return send(url, {
      method: options.method,
      dispatcher,
      signal,
      headers: {
        ...headers,
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...(options.body === undefined ? {} : { 'content-type': options.contentType ?? 'application/json' }),
      },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    });
  }

  #nameOf(method: string, path: string): string {
    return `${method} ${this.server}${path}`;
  }
}

interface Page<T> {
  metadata: { resourceVersion?: string; continue?: string };
  items: T[] | null;
}

function call(options: CallOptions): CallOptions {
  return { signal: options.signal, deadline: options.deadline };
}

function typed(resource: Resource, object: object): object {
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
}

function namespaceOf(resource: Resource, object: { metadata: { namespace?: string; name?: string } }): string {
  const { namespace, name } = object.metadata;
  if (!namespace) throw new TypeError(`${resource.kind} ${name ?? ''}: no namespace given`);
  return namespace;
}

function writeQuery(options: WriteOptions): Record<string, string | undefined> {
  return { dryRun: options.dryRun ? 'All' : undefined, fieldManager: options.fieldManager };
}

function deleteBody(options: DeleteOptions): object {
  const { preconditions, gracePeriodSeconds, propagationPolicy, dryRun } = options;
  return { preconditions, gracePeriodSeconds, propagationPolicy, ...(dryRun ? { dryRun: ['All'] } : {}) };
}

/** The caller's own abort stays what it is; a deadline becomes a KubeError that says which call hung. */
function abortedError(name: string, signal: AbortSignal, caller: AbortSignal | undefined): unknown {
  if (caller?.aborted) return caller.reason;
  return new KubeError(name, { status: 0, reason: noAnswer.deadlineExceeded, message: messageOf(signal.reason) }, { cause: signal.reason });
}

function connectionError(name: string, error: unknown): KubeError {
  if (error instanceof KubeError) return error;
  return new KubeError(name, { status: 0, reason: noAnswer.connectionFailed, message: messageOf(error) }, { cause: error });
}
