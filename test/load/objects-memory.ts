import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Migration } from '../../src/api/migration.ts';
import type { Node, Pod } from '../../src/api/pod.ts';
import { podsOf, whatMatters } from '../../src/controller/caches.ts';
import { withoutManagedFields } from '../../src/kube/informer.ts';
import { Store } from '../../src/kube/store.ts';
import type { KubeObject } from '../../src/kube/types.ts';

/** One of each, as the API server sent it. */
export interface Samples {
  migration: Migration;
  pod: Pod;
  node: Node;
}

/** What one object costs in the caches that the controller keeps. Bytes of the heap. */
export interface ObjectMemory {
  migration: number;
  pod: number;
  node: number;
}

const copies = 10_000;

export function memoryOf({ migration, pod, node }: Samples): ObjectMemory {
  return {
    migration: each(
      migration as Migration & KubeObject,
      { pod: podsOf, uid: ({ metadata }) => [metadata.uid ?? ''] },
      withoutManagedFields,
    ),
    pod: each(pod as Pod & KubeObject, {}, whatMatters),
    node: each(node as Node & KubeObject, {}, withoutManagedFields),
  };
}

function each<T extends KubeObject>(sample: T, indexers: Record<string, (object: T) => string[]>, kept: (object: T) => T): number {
  const text = JSON.stringify(sample);
  const before = heap();
  const store = new Store<T>(indexers);
  for (let copy = 0; copy < copies; copy++) {
    // Parsed anew, as from the wire: nothing is shared but what the parser shares.
    const object = JSON.parse(text) as T;
    object.metadata = { ...object.metadata, name: `${object.metadata.name}-${copy}`, uid: `${object.metadata.uid}-${copy}` };
    store.set(kept(object));
  }
  const bytes = Math.round((heap() - before) / copies);
  if ([...store.values()].length !== copies) throw new Error('the store lost objects');
  return bytes;
}

function heap(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}
