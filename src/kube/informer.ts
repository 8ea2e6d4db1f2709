import type { KubeClient } from './client.ts';
import { Reflector, type ReflectorOptions, type ReflectorStats } from './reflector.ts';
import { Store } from './store.ts';
import type { KubeObject, Resource } from './types.ts';

/** Each is called for one change after the other; one that throws or rejects is reported and harms nobody else. */
export interface Handlers<T> {
  add?(object: T): unknown;
  update?(object: T, before: T): unknown;
  /** `last` is the last state known; what happened between it and the deletion may never have been seen. */
  delete?(last: T): unknown;
}

export interface InformerOptions<T> extends ReflectorOptions {
  /** Name of an index → the values an object is found under in it. */
  indexers?: Record<string, (object: T) => string[]> | undefined;
  /** What is kept of an object; default: everything but `managedFields`. Must leave the name, namespace, uid and resourceVersion. */
  transform?: ((object: T) => T) | undefined;
}

/**
 * A local copy of the objects of one resource that follows the API server, and word of every change. The copy lags by
 * what the network takes: a decision that cannot bear it reads freshly. Objects of it are shared: do not change them.
 */
export class Informer<T extends KubeObject> {
  readonly #store: Store<T>;
  readonly #reflector: Reflector<T>;
  readonly #handlers = new Set<Handlers<T>>();
  readonly #onError: (error: unknown) => void;
  readonly #synced = Promise.withResolvers<void>();
  #hasSynced = false;

  constructor(client: KubeClient, resource: Resource<T>, options: InformerOptions<T> = {}) {
    this.#store = new Store(options.indexers ?? {});
    this.#onError = options.onError ?? (() => {});
    const transform = options.transform ?? withoutManagedFields;
    this.#reflector = new Reflector(
      client,
      resource,
      {
        replace: (objects) => this.#replace(objects.map(transform)),
        apply: (type, object) => (type === 'DELETED' ? this.#remove(transform(object)) : this.#set(transform(object))),
      },
      options,
    );
  }

  /** Begins to list and watch. Returns at once; failures are reported to `onError` and tried again. */
  start(): this {
    this.#reflector.start();
    return this;
  }

  /** Handlers added later hear of every object that is there already, as `add`. Returns how to take them off. */
  addHandlers(handlers: Handlers<T>): () => void {
    for (const object of this.#store.values()) this.#tell(() => handlers.add?.(object));
    this.#handlers.add(handlers);
    return () => this.#handlers.delete(handlers);
  }

  /** Whether everything there was at the start is in the copy and the handlers were told. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** @throws the signal's reason */
  async waitForSync(signal?: AbortSignal): Promise<void> {
    if (!signal) return this.#synced.promise;
    signal.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    try {
      await Promise.race([this.#synced.promise, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  get(name: string, namespace?: string): T | undefined {
    return this.#store.get(namespace ? `${namespace}/${name}` : name);
  }

  /** All objects, or those of one namespace. */
  list(namespace?: string): T[] {
    return namespace === undefined ? [...this.#store.values()] : this.#store.inNamespace(namespace);
  }

  /** @throws Error for an index that was not asked for */
  byIndex(index: string, value: string): T[] {
    return this.#store.byIndex(index, value);
  }

  /** Milliseconds since the API server said anything, for metrics. */
  lastEventAge(): number {
    return this.#reflector.lastEventAge();
  }

  get stats(): Readonly<ReflectorStats> {
    return this.#reflector.stats;
  }

  /** No handler is called after this resolves. */
  async stop(): Promise<void> {
    await this.#reflector.stop();
  }

  #replace(objects: T[]): void {
    const seen = new Set(objects.map((object) => this.#store.keyOf(object)));
    for (const [key, object] of [...this.#store.entries()]) if (!seen.has(key)) this.#remove(object);
    for (const object of objects) this.#set(object);
    this.#hasSynced = true;
    this.#synced.resolve();
  }

  #set(object: T): void {
    const before = this.#store.get(this.#store.keyOf(object));
    // Another object of the same name: the old one's end was missed while nobody watched.
    if (before && before.metadata.uid !== object.metadata.uid) this.#remove(before);
    else if (before && before.metadata.resourceVersion === object.metadata.resourceVersion) return;
    this.#index(() => this.#store.set(object));
    const updates = before && before.metadata.uid === object.metadata.uid;
    for (const handlers of [...this.#handlers]) this.#tell(() => (updates ? handlers.update?.(object, before) : handlers.add?.(object)));
  }

  #remove(last: T): void {
    this.#store.delete(this.#store.keyOf(last));
    for (const handlers of [...this.#handlers]) this.#tell(() => handlers.delete?.(last));
  }

  /** An index function that throws is a bug worth hearing of; the object is kept all the same. */
  #index(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#report(error);
    }
  }

  #tell(work: () => unknown): void {
    try {
      const result = work();
      if (result instanceof Promise) result.catch((error: unknown) => this.#report(error));
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    try {
      this.#onError(error);
    } catch {
      // A broken logger must not end the watching.
    }
  }
}

/** `metadata.managedFields` is often half of an object and of use to nobody here. */
export function withoutManagedFields<T extends KubeObject>(object: T): T {
  const metadata: Record<string, unknown> = { ...object.metadata };
  delete metadata.managedFields;
  return { ...object, metadata };
}
