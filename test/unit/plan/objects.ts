import type { Migration, MigrationStatus } from '../../../src/api/migration.ts';
import type { Node, Pod, PodSpec, PodStatus } from '../../../src/api/pod.ts';

/** Pods, nodes and migrations as the API server has them, small and whole; each test changes what it is about. */

export const namespace = 'shop';
export const podUid = '11111111-1111-1111-1111-111111111111';
export const targetUid = '22222222-2222-2222-2222-222222222222';
export const ownerUid = '33333333-3333-3333-3333-333333333333';
export const migrationUid = '44444444-4444-4444-4444-444444444444';

/** A digest that is easy to tell from others. */
export function digest(letter: string): string {
  return `sha256:${letter.repeat(64)}`;
}

export interface PodChange {
  metadata?: Partial<Pod['metadata']>;
  spec?: Partial<PodSpec>;
  status?: Partial<PodStatus>;
}

/** A pod without an owner that runs its one container, `app`, on node-a, and is ready. */
export function pod({ metadata, spec, status }: PodChange = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web-7d9f-abcde', namespace, uid: podUid, labels: { app: 'web' }, ...metadata },
    spec: { nodeName: 'node-a', containers: [{ name: 'app', image: 'registry.example/shop/web:v1' }], ...spec },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [running('app', 'a')],
      ...status,
    },
  };
}

/** The status of a container that runs, its image with the digest of this letter. */
export function running(name: string, letter: string) {
  return {
    name,
    ready: true,
    restartCount: 0,
    imageID: `registry.example/shop/${name}@${digest(letter)}`,
    state: { running: { startedAt: '2026-11-24T10:00:00Z' } },
  };
}

export function ownedBy(kind: string, name = 'web-7d9f', uid = ownerUid) {
  return { ownerReferences: [{ apiVersion: kind === 'Job' ? 'batch/v1' : 'apps/v1', kind, name, uid, controller: true }] };
}

export function node(name: string, change: { unschedulable?: boolean; ready?: string } = {}): Node {
  return {
    metadata: { name },
    spec: change.unschedulable ? { unschedulable: true } : {},
    status: { conditions: [{ type: 'Ready', status: change.ready ?? 'True' }] },
  };
}

export function migration(
  change: { metadata?: Partial<Migration['metadata']>; spec?: Partial<Migration['spec']>; status?: MigrationStatus } = {},
): Migration {
  return {
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'Migration',
    metadata: {
      name: 'move-web',
      namespace,
      uid: migrationUid,
      generation: 1,
      creationTimestamp: '2026-11-24T10:00:00Z',
      finalizers: ['podferry.io/migration'],
      ...change.metadata,
    },
    spec: { pod: 'web-7d9f-abcde', ...change.spec },
    ...(change.status ? { status: change.status } : {}),
  };
}

/** Makes every write to the value an error, however deep. */
export function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
