import { whyUnwanted } from '../../../../src/plan/pods/ownership.ts';

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
