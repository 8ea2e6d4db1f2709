import type { Migration, Step } from '../../src/api/migration.ts';
import { isFinished } from '../../src/api/migration.ts';
import type { Pod } from '../../src/api/pod.ts';
import { cluster } from './support/cluster.ts';
import { ask, counted, counterSpec } from './support/counter.ts';
import { createPolicy, interruptAll, start, uncordon, usePolicies } from './support/drain.ts';
import { kubectl } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';
import { workload } from './support/workload.ts';

/** What happens to a pod while it is on its way: the rows of docs/policies.md, "What happens when". */

usePolicies('test-during', 'test-during-limits');
const space = useNamespace('test-during');
/** Enough that a pod is frozen for some seconds. */
const large = { env: { MB: '96' } };

const evict = async (name: string) => (await cluster()).evict({ namespace: space.name, name });
/** What somebody who evicts the pod is told. */
const answer = (name: string) =>
  evict(name).then(
    () => 'evicted',
    (error: Error) => error.message,
  );
const migrationsOf = async (pod: string) => (await space.migrations()).filter(({ spec }) => spec.pod === pod);
const movesOf = async (app: string) => (await space.migrations()).filter(({ spec }) => spec.pod.startsWith(app));

/** The Migration of a pod, once that step is done. */
const reached = (pod: string, step: Step): Promise<Migration> =>
  until(
    `the migration of pod ${pod} has ${step}`,
    async () => (await migrationsOf(pod)).find(({ status }) => status?.steps?.[step] !== undefined),
    90_000,
    20,
  );

const birthOf = async (pod: Pod) => (await ask(pod)).birth;

async function one(app: string, options = {}): Promise<{ pod: Pod; birth: string }> {
  await space.create(workload('ReplicaSet', app, { state: 'kept' }, await counterSpec('node-a', options)));
  const [pod] = await space.allReady(`app=${app}`, 1);
  if (!pod) throw new Error('there is no pod');
  expect(pod.spec.nodeName).toBe('node-a');
  return { pod, birth: (await counted(pod, 1)).birth };
}

/** That pod's memory, and no other, runs on node-b. */
async function expectMoved(app: string, birth: string): Promise<void> {
  const [pod] = await space.allReady(`app=${app}`, 1, 120_000);
  expect([pod?.spec.nodeName, await birthOf(pod as Pod)]).toEqual(['node-b', birth]);
}

beforeAll(() =>
  createPolicy('test-during', {
    podSelector: { matchLabels: { state: 'kept' } },
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'test-during' } },
    timeouts: { switchSeconds: 15 },
  }),
);
afterEach(() => {
  interruptAll();
  return uncordon('node-a', 'node-b');
});

it('many evict one pod, before it is frozen and while it is: one Migration, and all are told', async () => {
  const { pod, birth } = await one('asked', large);
  const { name } = pod.metadata;
  const first = await Promise.all(Array.from({ length: 10 }, () => answer(name)));
  for (const said of first) expect(said).toMatch(/429 TooManyRequests: .*podferry: (waiting|migrating)/);
  await reached(name, 'frozen');
  for (const said of await Promise.all(Array.from({ length: 10 }, () => answer(name)))) {
    expect(said).toMatch(
      /429 TooManyRequests: .*podferry: (migrating to node-b, (checkpointing|shipping|restoring)|migrated to node-b)|404/,
    );
  }
  const [migration, ...others] = await migrationsOf(name);
  expect(others).toEqual([]);
  await space.succeeded(migration as Migration, 120_000);
  await expectMoved('asked', birth);
}, 240_000);

it('the drain is broken off and the node uncordoned: what has begun goes on', async () => {
  const { pod, birth } = await one('left', large);
  const run = start('drain', 'node-a', '--pod-selector=app=left');
  const { metadata } = await reached(pod.metadata.name, 'frozen');
  run.interrupt();
  await uncordon('node-a');
  expect(await run.ended).not.toBe(0);
  await space.succeeded({ metadata }, 120_000);
  await expectMoved('left', birth);
}, 240_000);

it('the policy is changed: limits hold from then on; it is deleted: what it made goes on without them', async () => {
  const limited = { podSelector: { matchLabels: { limited: 'true' } }, priority: 10, limits: { cluster: 1 } };
  await createPolicy('test-during-limits', limited);
  const spec = await counterSpec('node-a');
  await space.create(workload('Deployment', 'limited', { limited: 'true' }, spec, { replicas: 3 }));
  const pods = await space.allReady('app=limited', 3);
  const births = (await Promise.all(pods.map((pod) => counted(pod, 1)))).map(({ birth }) => birth).sort();
  // With no node to go to, what has begun waits in Preparing for as long as the test likes.
  await kubectl('cordon', 'node-a', 'node-b');
  for (const { metadata } of pods) await answer(metadata.name);
  const begun = (count: number) =>
    until(`${count} have begun, the others wait`, async () => {
      const all = await movesOf('limited');
      const waiting = all.filter(({ status }) => status?.phase === 'Pending' && status.queuePosition !== undefined);
      return all.length === 3 && waiting.length === 3 - count ? all : undefined;
    });
  await begun(1);
  // The message that kubectl drain shows has the position in the queue.
  expect((await Promise.all(pods.map(({ metadata }) => answer(metadata.name)))).join()).toMatch(/waiting for its turn .*position 2/);
  const patch = (body: object) => kubectl('patch', 'migrationpolicy', 'test-during-limits', '--type=merge', '-p', JSON.stringify(body));
  await patch({ spec: { limits: { cluster: 2 } } });
  await begun(2);
  // Lower again, and not about these pods any more: the two go on, the third keeps its place.
  await patch({ spec: { limits: { cluster: 1 }, podSelector: { matchLabels: { limited: 'no-more' } } } });
  expect(await begun(2)).toHaveLength(3);
  await kubectl('delete', 'migrationpolicy', 'test-during-limits');
  await begun(3);
  await uncordon('node-b');
  for (const migration of await movesOf('limited')) await space.succeeded(migration, 120_000);
  const moved = await space.allReady('app=limited', 3);
  expect(moved.map(({ spec: { nodeName } }) => nodeName)).toEqual(['node-b', 'node-b', 'node-b']);
  expect((await Promise.all(moved.map(birthOf))).sort()).toEqual(births);
  expect(await movesOf('limited')).toHaveLength(3);
}, 300_000);

/** Nothing of a migration is left in the namespace but its object. */
async function nothingLeft(app: string): Promise<void> {
  await until(
    `the migrations of ${app} have ended`,
    async () => {
      const all = await movesOf(app);
      if (all.every(isFinished)) return true;
      throw new Error(
        all.map((migration) => `${migration.metadata.name} ${migration.status?.phase}: ${readyMessage(migration)}`).join('\n'),
      );
    },
    150_000,
    250,
  );
  expect((await space.pods('podferry.io/role')).map(({ metadata }) => metadata.name)).toEqual([]);
}

it.each(['frozen', 'held'] as const)(
  'a Deployment is rolled out when its pod is %s: its new pods have nothing of the old memory',
  async (step) => {
    const app = `rolled-${step}`;
    const spec = await counterSpec('node-a', large);
    await space.create(workload('Deployment', app, { state: 'kept' }, spec));
    const [pod] = await space.allReady(`app=${app}`, 1);
    const { birth } = await counted(pod as Pod, 1);
    const run = start('drain', 'node-a', `--pod-selector=app=${app}`, '--timeout=180s');
    await reached(pod?.metadata.name ?? '', step);
    await kubectl('-n', space.name, 'set', 'env', `deployment/${app}`, 'GREETING=new', 'MB=1');
    await kubectl('-n', space.name, 'rollout', 'status', `deployment/${app}`, '--timeout=120s');
    expect([await run.ended, run.said()]).toEqual([0, expect.stringContaining('node/node-a drained')]);
    await nothingLeft(app);
    const [now] = await space.allReady(`app=${app}`, 1, 120_000);
    const found = await ask(now as Pod);
    expect(found.greeting).toBe('new');
    expect(found.birth).not.toBe(birth);
  },
  300_000,
);

describe.each(['frozen', 'held'] as const)('scaled down when a pod is %s', (step) => {
  it('a Deployment keeps as many as it wants, each with memory of its own', async () => {
    const app = `fewer-${step}`;
    await space.create(workload('Deployment', app, { state: 'kept' }, await counterSpec('node-a', large), { replicas: 2 }));
    const pods = await space.allReady(`app=${app}`, 2);
    const births = (await Promise.all(pods.map((pod) => counted(pod, 1)))).map(({ birth }) => birth);
    const name = pods[0]?.metadata.name ?? '';
    await answer(name);
    await reached(name, step);
    await kubectl('-n', space.name, 'scale', `deployment/${app}`, '--replicas=1');
    await nothingLeft(app);
    const [left] = await space.allReady(`app=${app}`, 1, 120_000);
    expect(births).toContain(await birthOf(left as Pod));
  }, 240_000);

  it('a StatefulSet has no pod above its number, and the others as they were', async () => {
    const app = `lower-${step}`;
    await space.create(workload('StatefulSet', app, { state: 'kept' }, await counterSpec('node-a', large), { replicas: 2 }));
    const pods = await space.allReady(`app=${app}`, 2);
    const stays = pods.find(({ metadata }) => metadata.name === `${app}-0`) as Pod;
    const { birth } = await counted(stays, 1);
    await answer(`${app}-1`);
    await reached(`${app}-1`, step);
    await kubectl('-n', space.name, 'scale', `statefulset/${app}`, '--replicas=1');
    await nothingLeft(app);
    const [left, ...more] = await space.allReady(`app=${app}`, 1, 120_000);
    expect(more).toEqual([]);
    expect([left?.metadata.uid, await birthOf(left as Pod)]).toEqual([stays.metadata.uid, birth]);
  }, 240_000);
});
