import type { Migration } from '../../../../src/api/migration.ts';
import { migration, pod, podUid } from '../objects.ts';
import { ago, claimed, now, observe, planOf, statusAt } from './observations.ts';

const request = { 'podferry.io/request': 'admission-1' };

function ended(change: { metadata?: Partial<Migration['metadata']>; ttl?: number; finished?: string } = {}, sourcePod = pod()) {
  const status = statusAt('Succeeded');
  if (change.finished) status.steps = { ...status.steps, finished: change.finished };
  const spec = change.ttl === undefined ? {} : { ttlSecondsAfterFinished: change.ttl };
  return observe({ sourcePod, migration: migration({ metadata: { finalizers: [], ...change.metadata }, spec, status }) });
}

test('the request that made it is taken off the pod, and the finalizer off the Migration', () => {
  const asked = pod({ metadata: { annotations: request } });
  const plan = planOf(ended({ metadata: { annotations: request, finalizers: ['podferry.io/migration', 'other'] } }, asked));
  expect(plan.actions).toEqual([{ type: 'clearRequest', pod: 'web-7d9f-abcde', uid: podUid }, { type: 'removeFinalizer' }]);
  expect(plan.status).toBeUndefined();
});

test('a request that is another one by now stays', () => {
  const asks = (value: string, uid = podUid) => pod({ metadata: { uid, annotations: { 'podferry.io/request': value } } });
  expect(planOf(ended({ metadata: { annotations: request } }, asks('admission-2'))).actions).toEqual([]);
  expect(planOf(ended({}, asks('admission-1'))).actions).toEqual([]);
  expect(planOf(ended({ metadata: { annotations: request } }, asks('admission-1', 'another pod'))).actions).toEqual([]);
});

test('a Migration that was refused never knew its pod by uid; the request goes all the same', () => {
  const asked = pod({ metadata: { annotations: request } });
  const refused = migration({ metadata: { annotations: request, finalizers: [] }, status: { phase: 'Failed' } });
  expect(planOf(observe({ sourcePod: asked, migration: refused })).actions).toEqual([
    { type: 'clearRequest', pod: 'web-7d9f-abcde', uid: podUid },
  ]);
});

test('it is kept, or deleted when its time is over', () => {
  expect(planOf(ended())).toEqual({ actions: [] });
  expect(planOf(ended({ ttl: 60, finished: ago(20) }))).toEqual({ actions: [], requeueAfter: 40_000 });
  expect(planOf(ended({ ttl: 60, finished: ago(60) }))).toEqual({ actions: [{ type: 'deleteMigration' }] });
  expect(planOf(ended({ ttl: 0, finished: new Date(now).toISOString() }))).toEqual({ actions: [{ type: 'deleteMigration' }] });
});

test('nothing more of one that is being deleted', () => {
  expect(planOf(ended({ ttl: 0, metadata: { deletionTimestamp: ago(5) } }))).toEqual({ actions: [] });
});

test('the claim is taken off a pod that stayed', () => {
  const sourcePod = claimed(ended()).sourcePod;
  expect(planOf(ended({}, sourcePod)).actions).toEqual([{ type: 'unclaimPod', name: 'web-7d9f-abcde', uid: podUid }]);
});
