import { type KubeObject, keyOf } from './types.ts';

/** Objects by key (`namespace/name`), by namespace, and by the indexes asked for. */
export class Store<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: [string, (object: T) => string[]][];
  /** Index → value → keys. */
  readonly #indexes = new Map<string, Map<string, Set<string>>>();

  constructor(indexers: Record<string, (object: T) => string[]>) {
    this.#indexers = [...Object.entries(indexers), [namespaceIndex, (object) => [object.metadata.namespace ?? '']]];
    for (const [name] of this.#indexers) this.#indexes.set(name, new Map());
  }

  keyOf(object: T): string {
    return keyOf(object);
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  values(): Iterable<T> {
    return this.#objects.values();
  }

  entries(): Iterable<[string, T]> {
    return this.#objects.entries();
  }

  /** @throws what an index function throws, after the object was stored and put into the other indexes */
  set(object: T): void {
    const key = keyOf(object);
    this.delete(key);
    this.#objects.set(key, object);
    let failure: { error: unknown } | undefined;
    for (const [name, valuesOf] of this.#indexers) {
      try {
        for (const value of valuesOf(object)) this.#keys(name, value).add(key);
      } catch (error) {
        failure = { error };
      }
    }
    if (failure) throw failure.error;
  }

  delete(key: string): void {
    const object = this.#objects.get(key);
    if (!object) return;
    this.#objects.delete(key);
    for (const [name, valuesOf] of this.#indexers) {
      const index = this.#indexes.get(name);
      for (const value of this.#safeValues(valuesOf, object)) {
        const keys = index?.get(value);
        keys?.delete(key);
        // Values come and go (node names, uids): an empty entry for each would pile up.
        if (keys?.size === 0) index?.delete(value);
      }
    }
  }

  byIndex(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    if (!index) throw new Error(`no index "${name}"; there are: ${[...this.#indexes.keys()].join(', ')}`);
    return [...(index.get(value) ?? [])].map((key) => this.#objects.get(key)).filter((object) => object !== undefined);
  }

  inNamespace(namespace: string): T[] {
    return this.byIndex(namespaceIndex, namespace);
  }

  #keys(name: string, value: string): Set<string> {
    const index = this.#indexes.get(name) as Map<string, Set<string>>;
    let keys = index.get(value);
    if (!keys) {
      keys = new Set();
      index.set(value, keys);
    }
    return keys;
  }

  #safeValues(valuesOf: (object: T) => string[], object: T): string[] {
    try {
      return valuesOf(object);
    } catch {
      return [];
    }
  }
}

const namespaceIndex = 'namespace';
