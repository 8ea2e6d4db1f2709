import { pino } from 'pino';
import request from 'supertest';
import type { Pod } from '../../../src/api/pod.ts';
import { webhookApp } from '../../../src/webhook/server.ts';
import { namespace } from '../plan/objects.ts';
import { policy } from '../plan/policy/policies.ts';
import { FakeCluster, reviewOf } from './requests.ts';

/** What the creator of a workload is told, through the express application. */
async function warnings(object: object, policies = [policy()], change: Partial<FakeCluster> = {}) {
  const cluster = Object.assign(new FakeCluster(), { migrationPolicies: policies }, change);
  const app = webhookApp({ ports: cluster, evictions: cluster, deadline: 1000, log: pino({ level: 'silent' }) });
  const admission = { uid: 'admission-1', operation: 'CREATE', namespace, object };
  const { body, status } = await request(app).post('/warn-workloads?timeout=3s').send(reviewOf(admission));
  expect([status, body.response.uid, body.response.allowed, body.response.patch]).toEqual([200, 'admission-1', true, undefined]);
  return body.response.warnings;
}

const templateOf = (spec: Partial<Pod['spec']>) => ({
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'app' }], ...spec },
});
const workload = (kind: string, spec: Partial<Pod['spec']>, more: object = {}) => ({
  kind,
  metadata: { name: 'web', namespace },
  spec: { template: templateOf(spec), ...more },
});

test.each(['Deployment', 'StatefulSet', 'ReplicaSet', 'ReplicationController', 'Job'])('%s', async (kind) => {
  expect(await warnings(workload(kind, { hostNetwork: true, hostPID: true }))).toEqual([
    expect.stringMatching(`^podferry: a pod of ${kind} web cannot migrate: it uses hostNetwork`),
    expect.stringMatching(`^podferry: a pod of ${kind} web cannot migrate: it uses hostPID`),
  ]);
});

test('CronJob', async () => {
  const cronJob = {
    kind: 'CronJob',
    metadata: { name: 'web' },
    spec: { jobTemplate: { spec: { template: templateOf({ hostPID: true }) } } },
  };
  expect(await warnings(cronJob)).toEqual([expect.stringMatching('^podferry: a pod of CronJob web cannot migrate: it uses hostPID')]);
});

test('the policies of its pods count, by the labels of the template', async () => {
  const bad = workload('Deployment', { hostPID: true });
  expect(await warnings(bad, [])).toBeUndefined();
  expect(await warnings(bad, [policy({ podSelector: { matchLabels: { app: 'web' } } })])).toHaveLength(1);
  expect(await warnings(bad, [policy({ podSelector: { matchLabels: { app: 'db' } } })])).toBeUndefined();
});

test('nothing to warn of', async () => {
  expect(await warnings(workload('Deployment', {}), [policy({ prepare: true })])).toBeUndefined();
  expect(await warnings({ kind: 'Deployment', metadata: { name: 'web' } })).toBeUndefined();
});

test('what cannot be prepared, where pods are prepared', async () => {
  const unconfined = workload('Deployment', { securityContext: { seccompProfile: { type: 'Unconfined' } } });
  expect(await warnings(unconfined, [policy({ prepare: true })])).toEqual([
    expect.stringMatching(/^podferry: a pod of Deployment web has container app with seccompProfile Unconfined/),
  ]);
  expect(await warnings(unconfined)).toBeUndefined();
});

test('claims, also those that a StatefulSet makes', async () => {
  const claims = [{ metadata: { name: 'shared', namespace }, spec: { accessModes: ['ReadWriteOncePod' as const] } }];
  const spec = { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'shared' } }] };
  const own = { volumeClaimTemplates: [{ metadata: { name: 'own' }, spec: { accessModes: ['ReadWriteOnce'] } }] };
  expect(await warnings(workload('StatefulSet', spec, own), [policy()], { claims })).toEqual([
    expect.stringMatching(/cannot migrate: its volume data \(PersistentVolumeClaim shared\) is ReadWriteOncePod/),
    expect.stringMatching(/may not be able to migrate: its volume own \(PersistentVolumeClaim own\) is ReadWriteOnce;/),
  ]);
});

test.each([
  ['no review', {}],
  ['no object', reviewOf({ uid: 'a', operation: 'CREATE', namespace })],
  ['no uid', reviewOf({ operation: 'CREATE', namespace, object: workload('Job', {}) })],
])('%s: 400', async (_what, body) => {
  const cluster = new FakeCluster();
  const app = webhookApp({ ports: cluster, evictions: cluster, deadline: 1000, log: pino({ level: 'silent' }) });
  expect((await request(app).post('/warn-workloads').send(body)).status).toBe(400);
});
