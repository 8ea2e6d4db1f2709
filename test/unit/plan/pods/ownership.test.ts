import type { Pod } from '../../../../src/api/pod.ts';
import { whyComplete, whyUnwanted } from '../../../../src/plan/pods/ownership.ts';

const owner = (kind: string) => ({ apiVersion: 'apps/v1', kind, name: 'db', uid: 'u' });
const found = (spec: object = {}, metadata: object = {}) => ({ metadata: { name: 'db', uid: 'u', ...metadata }, spec });

test('an owner that is gone, is going, or is another one by now wants nothing', () => {
  for (const object of [undefined, found({}, { uid: 'v' }), found({}, { deletionTimestamp: '2026-11-25T00:00:00Z' })]) {
    expect(whyUnwanted(owner('ReplicaSet'), object, 'db-x7k2p')).toBe('ReplicaSet db was deleted');
  }
});

test('a StatefulSet wants the pods of its ordinals only', () => {
  const set = owner('StatefulSet');
  expect(whyUnwanted(set, found({ replicas: 2 }), 'db-1')).toBeUndefined();
  expect(whyUnwanted(set, found({ replicas: 1 }), 'db-1')).toBe('StatefulSet db was scaled down to 1 replicas');
  expect(whyUnwanted(set, found({ replicas: 0 }), 'db-0')).toBe('StatefulSet db was scaled down to 0 replicas');
  expect(whyUnwanted(set, found({ replicas: 2, ordinals: { start: 5 } }), 'db-6')).toBeUndefined();
  expect(whyUnwanted(set, found({ replicas: 1, ordinals: { start: 5 } }), 'db-6')).toMatch(/scaled down/);
  expect(whyUnwanted(set, found(), 'db-0')).toBeUndefined();
});

test('of others no pod has a place of its own: their controllers choose', () => {
  expect(whyUnwanted(owner('ReplicaSet'), found({ replicas: 0 }), 'db-1')).toBeUndefined();
});

describe('a ReplicaSet that was scaled down while one of its pods was on its way', () => {
  const set = owner('ReplicaSet');
  const since = '2026-11-25T00:00:00.500000Z';
  const pod = (metadata: object = {}, phase = 'Running') =>
    ({
      metadata: {
        name: 'db-x',
        creationTimestamp: '2026-11-24T23:59:59Z',
        ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'db', uid: 'u', controller: true }],
        ...metadata,
      },
      spec: { containers: [] },
      status: { phase },
    }) as unknown as Pod;

  test('has as many as it wants', () => {
    expect(whyComplete(set, found({ replicas: 1 }), [pod()], since)).toBe('ReplicaSet db was scaled down to 1 replicas, and has them');
    expect(whyComplete(set, found({ replicas: 0 }), [], since)).toBe('ReplicaSet db was scaled down to 0 replicas, and has them');
    expect(whyComplete(set, found({ replicas: 2 }), [pod()], since)).toBeUndefined();
    expect(whyComplete(set, found(), [], since)).toBeUndefined();
  });

  test('pods that go, have ended, or belong to others do not count', () => {
    const others = [pod({ deletionTimestamp: since }), pod({}, 'Failed'), pod({ ownerReferences: [] }), pod({}, 'Succeeded')];
    expect(whyComplete(set, found({ replicas: 1 }), others, since)).toBeUndefined();
  });

  test('one that came since may have taken the place without the memory, unless it is a target', () => {
    const later = { creationTimestamp: '2026-11-25T00:00:01Z' };
    expect(whyComplete(set, found({ replicas: 1 }), [pod(later)], since)).toBeUndefined();
    const target = pod({ ...later, annotations: { 'podferry.io/migration-uid': 'm' } });
    expect(whyComplete(set, found({ replicas: 1 }), [target], since)).toMatch(/scaled down/);
  });

  test('nothing is said of other kinds, and of one that is not there', () => {
    expect(whyComplete(owner('StatefulSet'), found({ replicas: 0 }), [], since)).toBeUndefined();
    expect(whyComplete(set, undefined, [], since)).toBeUndefined();
    expect(whyComplete(set, found({ replicas: 0 }, { uid: 'v' }), [], since)).toBeUndefined();
  });
});
