import type { Pod } from '../../src/api/pod.ts';
import { ask, type Counted, counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { kubectl } from './support/lab.ts';
import { useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-workloads');
const other = (node: string | undefined) => (node === 'node-a' ? 'node-b' : 'node-a');

/** Moves the pods to the other node, all at once; their counters before and after, by birth. */
async function moveAll(selector: string, pods: Pod[]): Promise<{ moved: Pod[]; before: Counted[]; after: Counted[]; seconds: number }> {
  const before = await Promise.all(pods.map((pod) => counted(pod)));
  const began = performance.now();
  const migrations = await Promise.all(pods.map((pod) => space.annotate(pod.metadata.name, other(pod.spec.nodeName))));
  await Promise.all(migrations.map((migration) => space.succeeded(migration, 90_000)));
  const moved = await space.allReady(selector, pods.length);
  const after = await Promise.all(moved.map((pod) => ask(pod)));
  return { moved, before, after, seconds: (performance.now() - began) / 1000 };
}

const labelled = (app: string) => ({ metadata: { labels: { app } } });

describe('a Deployment', () => {
  const selector = 'app=deployed';

  beforeAll(async () => {
    const template = { ...labelled('deployed'), spec: await counterSpec() };
    await space.create({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'deployed' },
      spec: { replicas: 3, selector: { matchLabels: { app: 'deployed' } }, template },
    });
    await space.allReady(selector, 3);
  });

  it('has one of its pods moved, the replacement being that very pod', async () => {
    const pods = await space.allReady(selector, 3);
    const [pod, ...rest] = pods;
    if (!pod) throw new Error('there is no pod');
    const births = await Promise.all(pods.map((each) => counted(each)));
    const { after } = await moveOne(pod);
    expect(after.birth).toBe(births[0]?.birth);
    const now = await space.allReady(selector, 3);
    // The two others are the same pods; the third is owned by the ReplicaSet as before.
    expect(now.map(({ metadata }) => metadata.uid)).toEqual(expect.arrayContaining(rest.map(({ metadata }) => metadata.uid)));
    for (const each of now) expect(each.metadata.ownerReferences?.[0]).toMatchObject({ kind: 'ReplicaSet', controller: true });
    expect((await Promise.all(now.map((each) => ask(each)))).map(({ birth }) => birth).sort()).toEqual(
      births.map(({ birth }) => birth).sort(),
    );
  });

  it('has all of its pods moved at once, each replacement claimed by exactly one migration', async () => {
    const { before, after, moved, seconds } = await moveAll(selector, await space.allReady(selector, 3));
    expect(after.map(({ birth }) => birth).sort()).toEqual(before.map(({ birth }) => birth).sort());
    for (const old of before) expectSameMemory(old, after.find(({ birth }) => birth === old.birth) as Counted, seconds);
    expect(new Set(moved.map(({ metadata }) => metadata.annotations?.['podferry.io/migration-uid'])).size).toBe(3);
    expect(await space.pods()).toHaveLength(3);
  });

  it('can be rolled out afterwards as ever', async () => {
    await kubectl('-n', space.name, 'rollout', 'restart', 'deployment/deployed');
    await kubectl('-n', space.name, 'rollout', 'status', 'deployment/deployed', '--timeout=60s');
    const pods = await space.allReady(selector, 3);
    for (const pod of pods) expect(pod.metadata.annotations ?? {}).not.toHaveProperty(['podferry.io/migration']);
  });

  afterAll(() => kubectl('-n', space.name, 'delete', 'deployment', 'deployed'));
});

async function moveOne(pod: Pod): Promise<{ target: Pod; after: Counted }> {
  const migration = await space.succeeded(await space.annotate(pod.metadata.name, other(pod.spec.nodeName)));
  const target = await space.ready(migration.status?.target?.name ?? '');
  expect(target.spec.nodeName).toBe(other(pod.spec.nodeName));
  return { target, after: await ask(target) };
}

it('moves a pod of a StatefulSet under its own name and with its hostname', async () => {
  const template = { ...labelled('stateful'), spec: await counterSpec() };
  await space.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'stateful' },
    spec: { clusterIP: 'None', selector: { app: 'stateful' }, ports: [{ port: 8080 }] },
  });
  await space.create({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'stateful' },
    spec: {
      replicas: 2,
      serviceName: 'stateful',
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: { app: 'stateful' } },
      template,
    },
  });
  const pods = await space.allReady('app=stateful', 2);
  const { moved, before, after, seconds } = await moveAll('app=stateful', pods);
  expect(moved.map(({ metadata }) => metadata.name).sort()).toEqual(['stateful-0', 'stateful-1']);
  for (const pod of moved) {
    const index = pods.findIndex(({ metadata }) => metadata.name === pod.metadata.name);
    expect(pod.spec.nodeName).toBe(other(pods[index]?.spec.nodeName));
    expectSameMemory(before[index] as Counted, after[moved.indexOf(pod)] as Counted, seconds);
    expect(pod.metadata.ownerReferences?.[0]).toMatchObject({ kind: 'StatefulSet', name: 'stateful', controller: true });
    expect(pod.metadata.labels).toMatchObject({ 'apps.kubernetes.io/pod-index': pod.metadata.name.slice(-1) });
  }
});

it('moves a pod of a ReplicationController', async () => {
  const template = { ...labelled('replicated'), spec: await counterSpec() };
  await space.create({
    apiVersion: 'v1',
    kind: 'ReplicationController',
    metadata: { name: 'replicated' },
    spec: { replicas: 1, selector: { app: 'replicated' }, template },
  });
  const { before, after, seconds } = await moveAll('app=replicated', await space.allReady('app=replicated', 1));
  expectSameMemory(before[0] as Counted, after[0] as Counted, seconds);
});

describe('a Job', () => {
  it('goes on where it was and completes, its pod counted once', async () => {
    const spec = await counterSpec(undefined, { env: { FINISH: '150' }, readinessProbe: undefined }, { restartPolicy: 'Never' });
    await space.create({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'work' },
      spec: { backoffLimit: 0, template: { ...labelled('work'), spec } },
    });
    const pods = await space.allReady('app=work', 1);
    const { before, after, seconds } = await moveAll('app=work', pods);
    expectSameMemory(before[0] as Counted, after[0] as Counted, seconds);
    const status = await until(
      'the Job is complete',
      async () => {
        const job = JSON.parse(await kubectl('-n', space.name, 'get', 'job', 'work', '-o', 'json')) as {
          status: { succeeded?: number; failed?: number };
        };
        return job.status.succeeded ? job.status : undefined;
      },
      40_000,
    );
    expect(status).toMatchObject({ succeeded: 1 });
    expect(status.failed ?? 0).toBe(0);
  });

  it('with indexes keeps them', async () => {
    const spec = await counterSpec(undefined, { readinessProbe: undefined }, { restartPolicy: 'Never' });
    await space.create({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'indexed' },
      spec: { completions: 2, parallelism: 2, completionMode: 'Indexed', backoffLimit: 0, template: { ...labelled('indexed'), spec } },
    });
    const pods = await space.allReady('app=indexed', 2);
    const index = (pod: Pod) => pod.metadata.annotations?.['batch.kubernetes.io/job-completion-index'] ?? '';
    const births = new Map(await Promise.all(pods.map(async (pod) => [index(pod), (await counted(pod)).birth] as const)));
    await moveAll('app=indexed', pods);
    const now = await space.allReady('app=indexed', 2);
    expect(new Map(await Promise.all(now.map(async (pod) => [index(pod), (await ask(pod)).birth] as const)))).toEqual(births);
  });
});
