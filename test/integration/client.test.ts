import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mayCreate } from '../../src/kube/access-review.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { type ConditionUpdate, setCondition } from '../../src/kube/conditions.ts';
import { loadConfig } from '../../src/kube/config.ts';
import { KubeError } from '../../src/kube/errors.ts';
import { configMaps, pods } from '../../src/kube/resources.ts';
import type { KubeObject, Resource } from '../../src/kube/types.ts';
import { type ApiServer, eventually, startApiServer } from './harness.ts';

let server: ApiServer;
let client: KubeClient;
let namespace: string;

beforeAll(async () => {
  server = await startApiServer();
  client = server.client;
  namespace = await server.createNamespace('client');
});

afterAll(async () => {
  await server?.stop();
});

const pod = (name: string) => ({ metadata: { name, namespace }, spec: { containers: [{ name: 'main', image: 'example.com/none' }] } });

async function failureOf(promise: Promise<unknown>): Promise<KubeError> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof KubeError)) throw error;
  return error;
}

test('a kubeconfig file works as other programs use it', async () => {
  const other = new KubeClient(loadConfig({ kubeconfig: server.kubeconfig }));
  expect(await other.request({ method: 'GET', path: '/version' })).toMatchObject({ major: '1' });
  await other.close();
});

test('what is read keeps unknown fields and times as strings', async () => {
  await client.create(pods, pod('raw'));
  const read = await client.get(pods, { name: 'raw', namespace });
  expect(read).toMatchObject({ kind: 'Pod', apiVersion: 'v1' });
  expect(read.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(read.metadata).toHaveProperty('managedFields');
  const listed = (await client.list(pods, { namespace })).items.find((item) => item.metadata.name === 'raw');
  expect(listed).toEqual(read);
});

test('lists come in pages of one state', async () => {
  const many = await server.createNamespace('pages');
  await Promise.all(
    Array.from({ length: 25 }, (_, index) => client.create(configMaps, { metadata: { name: `page-${index}`, namespace: many } })),
  );
  const { items, resourceVersion } = await client.list(configMaps, { namespace: many, limit: 7 });
  expect(items.map((item) => item.metadata.name).sort()).toEqual(Array.from({ length: 25 }, (_, index) => `page-${index}`).sort());
  expect(Number(resourceVersion)).toBeGreaterThan(0);
});

test('every kind of patch does what its standard says', async () => {
  const ref = { name: 'patched', namespace };
  await client.create(configMaps, { metadata: { ...ref, labels: { keep: '1' } }, data: { a: '1', b: '2' } });
  expect((await client.patch(configMaps, ref, { type: 'merge', body: { data: { a: null, c: '3' } } })).data).toEqual({ b: '2', c: '3' });
  expect((await client.patch(configMaps, ref, { type: 'json', body: [{ op: 'remove', path: '/data/b' }] })).data).toEqual({ c: '3' });
  expect(
    (await client.patch(configMaps, ref, { type: 'strategic', body: { metadata: { labels: { more: '2' } } } })).metadata.labels,
  ).toEqual({ keep: '1', more: '2' });
  const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: ref, data: { c: 'mine' } };
  const refused = await failureOf(client.patch(configMaps, ref, { type: 'apply', body }, { fieldManager: 'one' }));
  expect(refused.isConflict).toBe(true);
  expect((await client.patch(configMaps, ref, { type: 'apply', body, force: true }, { fieldManager: 'one' })).data).toEqual({ c: 'mine' });
});

test('a dry run stores nothing', async () => {
  await client.create(configMaps, { metadata: { name: 'dry', namespace } }, { dryRun: true });
  expect(await client.find(configMaps, { name: 'dry', namespace })).toBeUndefined();
  await client.create(configMaps, { metadata: { name: 'wet', namespace } });
  await client.delete(configMaps, { name: 'wet', namespace }, { dryRun: true });
  expect(await client.find(configMaps, { name: 'wet', namespace })).toBeDefined();
});

test('preconditions keep another object of the same name', async () => {
  const first = await client.create(configMaps, { metadata: { name: 'again', namespace } });
  await client.delete(configMaps, { name: 'again', namespace }, { preconditions: { uid: first.metadata.uid } });
  await client.create(configMaps, { metadata: { name: 'again', namespace } });
  const refused = await failureOf(client.delete(configMaps, { name: 'again', namespace }, { preconditions: { uid: first.metadata.uid } }));
  expect(refused.isConflict).toBe(true);
});

test('errors say which call failed and how', async () => {
  const missing = await failureOf(client.get(pods, { name: 'nobody', namespace }));
  expect(missing).toMatchObject({ status: 404, reason: 'NotFound', isNotFound: true });
  expect(missing.message).toContain(`GET ${server.url}/api/v1/namespaces/${namespace}/pods/nobody`);
  const stale = await client.create(configMaps, { metadata: { name: 'stale', namespace } });
  await client.patch(configMaps, { name: 'stale', namespace }, { type: 'merge', body: { data: { a: '1' } } });
  expect((await failureOf(client.replace(configMaps, stale))).isConflict).toBe(true);
  const twice = await failureOf(client.create(configMaps, { metadata: { name: 'stale', namespace } }));
  expect([twice.isAlreadyExists, twice.isConflict]).toEqual([true, false]);
  const nobody = await server.clientFor('nobody');
  expect((await failureOf(nobody.list(pods, { namespace }))).isForbidden).toBe(true);
});

test('an eviction is held up by a disruption budget, and a dry run removes nothing', async () => {
  const budgets: Resource<KubeObject & { spec: object }> = {
    group: 'policy',
    version: 'v1',
    plural: 'poddisruptionbudgets',
    kind: 'PodDisruptionBudget',
    namespaced: true,
  };
  const labelled = { ...pod('evicted'), metadata: { name: 'evicted', namespace, labels: { app: 'evicted' } } };
  await client.create(pods, labelled);
  await client.evict({ name: 'evicted', namespace }, { dryRun: true });
  expect((await client.get(pods, { name: 'evicted', namespace })).metadata.deletionTimestamp).toBeUndefined();
  // Pods that were never scheduled are not counted by budgets.
  await client.patch(
    pods,
    { name: 'evicted', namespace },
    { type: 'merge', body: { status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } } },
    { subresource: 'status' },
  );
  await client.create(budgets, {
    metadata: { name: 'keep', namespace },
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'evicted' } } },
  });
  const refused = await failureOf(client.evict({ name: 'evicted', namespace }));
  expect(refused.isTooManyRequests).toBe(true);
  await client.delete(budgets, { name: 'keep', namespace });
  await client.evict({ name: 'evicted', namespace }, { gracePeriodSeconds: 0 });
  expect(await client.find(pods, { name: 'evicted', namespace })).toBeUndefined();
});

test('conditions are written to the status and change their time only with their status', async () => {
  const ref = { name: 'conditioned', namespace };
  await client.create(pods, pod(ref.name));
  const update = (status: 'True' | 'False', message: string): ConditionUpdate => ({
    type: 'podferry.io/Moved',
    status,
    reason: 'Tested',
    message,
  });
  let conditions = setCondition([], update('False', 'not yet'), new Date('2026-01-01T00:00:00Z'));
  conditions = setCondition(conditions, update('False', 'still not'), new Date('2026-01-01T00:00:05Z'));
  const write = () => client.patch(pods, ref, { type: 'merge', body: { status: { conditions } } }, { subresource: 'status' });
  expect((await write()).status?.conditions).toEqual([
    expect.objectContaining({ message: 'still not', lastTransitionTime: '2026-01-01T00:00:00Z' }),
  ]);
  conditions = setCondition(conditions, update('True', 'done'), new Date('2026-01-01T00:00:09Z'));
  expect((await write()).status?.conditions).toEqual([
    expect.objectContaining({ status: 'True', lastTransitionTime: '2026-01-01T00:00:09Z' }),
  ]);
});

test('access reviews know users, groups and namespaces', async () => {
  const rbac = 'rbac.authorization.k8s.io';
  const rule = { apiGroups: ['podferry.io'], resources: ['migrations'], verbs: ['create'] };
  const apply = (object: object) => server.apply(object as KubeObject);
  await apply({ apiVersion: `${rbac}/v1`, kind: 'Role', metadata: { name: 'mover', namespace }, rules: [rule] });
  const subjects = [
    { kind: 'User', name: 'mia', apiGroup: rbac },
    { kind: 'Group', name: 'movers', apiGroup: rbac },
  ];
  await apply({
    apiVersion: `${rbac}/v1`,
    kind: 'RoleBinding',
    metadata: { name: 'mover', namespace },
    roleRef: { apiGroup: rbac, kind: 'Role', name: 'mover' },
    subjects,
  });
  const what = { group: 'podferry.io', resource: 'migrations', namespace };
  // The API server's authorizer takes a moment to hear of new roles.
  const mia = await eventually(async () => {
    const verdict = await mayCreate(client, { username: 'mia' }, what);
    expect(verdict.allowed).toBe(true);
    return verdict;
  });
  expect(mia.reason).toContain('mover');
  expect(await mayCreate(client, { username: 'max', groups: ['movers'], uid: '1', extra: { scopes: ['a'] } }, what)).toMatchObject({
    allowed: true,
  });
  expect(await mayCreate(client, { username: 'max', groups: [] }, what)).toMatchObject({ allowed: false });
  expect(await mayCreate(client, { username: 'mia' }, { ...what, namespace: 'default' })).toMatchObject({ allowed: false });
});

test('a call to a server that stands still ends with its deadline, one that is aborted at once', async () => {
  await server.pause();
  try {
    const begun = performance.now();
    const late = await failureOf(client.get(pods, { name: 'raw', namespace }, { deadline: 700 }));
    expect(late).toMatchObject({ reason: 'DeadlineExceeded', isUnreachable: true });
    expect(performance.now() - begun).toBeLessThan(2000);
    const reason = new Error('enough');
    await expect(client.get(pods, { name: 'raw', namespace }, { signal: AbortSignal.timeout(100) })).rejects.toThrow(/timeout/);
    await expect(client.get(pods, { name: 'raw', namespace }, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  } finally {
    server.resume();
  }
  expect(await client.find(pods, { name: 'raw', namespace })).toBeDefined();
});

test('calls made while the API server restarts succeed', async () => {
  await server.kill();
  const pending = Promise.all([
    client.get(pods, { name: 'raw', namespace }, { deadline: 60_000 }),
    // Nothing could be sent, so even a write is safe to repeat.
    client.create(configMaps, { metadata: { name: 'patient', namespace } }, { deadline: 60_000 }),
  ]).catch((error: unknown) => error);
  await server.start();
  const outcome = await pending;
  // A starting API server answers 403 until its roles are loaded, but not for system:masters.
  expect(outcome).toEqual([expect.objectContaining({ kind: 'Pod' }), expect.objectContaining({ kind: 'ConfigMap' })]);
}, 90_000);
