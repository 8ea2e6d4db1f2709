import { isFinished, type Migration } from '../../src/api/migration.ts';
import type { Pod } from '../../src/kube/resources.ts';
import { ask, counted, counterSpec } from './support/counter.ts';
import { createPolicy, everything, interruptAll, start, uncordon, usePolicies } from './support/drain.ts';
import { kubectl } from './support/lab.ts';
import { useNamespace } from './support/space.ts';
import { until } from './support/until.ts';
import { useSharedVolumes, volumeClaimTemplates } from './support/volumes.ts';
import { useWatch } from './support/watch.ts';
import { workload } from './support/workload.ts';

usePolicies('test-drain', 'test-drain-refused', 'test-drain-cordon');
const space = useNamespace('test-drain');

const volumes = useSharedVolumes(space, 'stateful-0', 'stateful-1');
const watch = useWatch(space);
const covered = { state: 'kept' };

const podsOf = async (app: string) => (await space.pods(`app=${app}`)).filter(({ metadata }) => !metadata.deletionTimestamp);

/** How many of the migrations were under way at once, by what they themselves say. */
function mostAtOnce(migrations: Migration[]): number {
  const spans = migrations.flatMap(({ status }) => {
    const { accepted, finished } = status?.steps ?? {};
    return accepted && finished ? [[Date.parse(accepted), Date.parse(finished)] as const] : [];
  });
  return Math.max(0, ...spans.map(([start]) => spans.filter(([from, to]) => from <= start && start < to).length));
}

const apps = { deployed: 3, stateful: 2, tight: 1, 'bare-1': 1, 'bare-2': 1, job: 1, plain: 1, refused: 1 };
/** Births of the pods of each, as they were at the start. */
const before = new Map<string, string[]>();

/** All pods are on the node, those of covered apps with the memory they had at the start. */
async function expectAllOn(node: string): Promise<void> {
  for (const [app, count] of Object.entries(apps)) {
    const pods = await space.allReady(`app=${app}`, count);
    expect([app, ...pods.map(({ spec }) => spec.nodeName)]).toEqual([app, ...pods.map(() => node)]);
    const births = (await Promise.all(pods.map((pod: Pod) => ask(pod)))).map(({ birth }) => birth).sort();
    if (app === 'plain' || app === 'refused') expect(births).not.toEqual(before.get(app));
    else expect([app, births]).toEqual([app, before.get(app)]);
  }
}

afterEach(interruptAll);
afterAll(async () => {
  // Drained too: one replica a node again.
  await kubectl('-n', 'podferry-system', 'rollout', 'restart', 'deployment');
  for (const name of ['controller', 'webhook'])
    await kubectl('-n', 'podferry-system', 'rollout', 'status', `deployment/podferry-${name}`, '--timeout=60s');
}, 150_000);

it('kubectl drain empties a node, and every covered pod arrives elsewhere with its memory', async () => {
  await createPolicy('test-drain', { podSelector: { matchLabels: covered }, limits: { perSource: 2 }, onFailure: 'Block' });
  await createPolicy('test-drain-refused', {
    priority: 10,
    podSelector: { matchLabels: { app: 'refused' } },
    onFailure: 'Evict',
    retries: 0,
  });
  const spec = await counterSpec('node-a');
  const mounts = { env: { JOURNAL: '/data/journal' }, volumeMounts: [{ name: 'data', mountPath: '/data' }] };
  // Go listens with Multipath TCP, which CRIU refuses.
  const refused = await counterSpec('node-a', { env: { GODEBUG: 'multipathtcp=1' } });
  for (const object of [
    workload('Deployment', 'deployed', covered, spec, { replicas: 3 }),
    workload('StatefulSet', 'stateful', covered, await counterSpec('node-a', mounts), { replicas: 2, volumeClaimTemplates }),
    workload('Deployment', 'tight', covered, spec),
    workload('Deployment', 'plain', {}, spec),
    workload('Deployment', 'refused', covered, refused),
    workload('Pod', 'bare-1', covered, spec),
    workload('Pod', 'bare-2', covered, spec),
    workload('Job', 'job', covered, spec),
    workload('DaemonSet', 'everywhere', covered, await counterSpec()),
  ])
    await space.create(object);
  await kubectl('-n', space.name, 'create', 'poddisruptionbudget', 'tight', '--selector=app=tight', '--min-available=1');
  for (const [app, count] of Object.entries(apps)) {
    const pods = await space.allReady(`app=${app}`, count);
    expect(pods.map(({ spec }) => spec.nodeName)).toEqual(pods.map(() => 'node-a'));
    before.set(app, (await Promise.all(pods.map((pod) => counted(pod)))).map(({ birth }) => birth).sort());
  }

  const run = start('drain', 'node-a', ...everything, '--timeout=240s');
  const waiting = await until(
    'the budget holds its pod back',
    async () =>
      (await space.migrations()).find(
        ({ spec, status }) =>
          spec.pod.startsWith('tight') && status?.conditions?.some(({ message }) => /disruption budget .*tight/.test(message)),
      ),
    180_000,
  );
  expect(waiting.status).toMatchObject({ phase: 'Pending', policy: 'test-drain', queuePosition: expect.any(Number) });
  await until(
    'all others are away',
    async () => {
      const left = (await space.pods()).filter(({ spec, metadata }) => spec.nodeName === 'node-a' && metadata.labels?.app !== 'everywhere');
      return left.length === 1 && left[0]?.metadata.labels?.app === 'tight' ? true : undefined;
    },
    180_000,
  );
  await kubectl('-n', space.name, 'patch', 'poddisruptionbudget', 'tight', '--type=merge', '-p', '{"spec":{"minAvailable":0}}');
  expect([await run.ended, run.said()]).toEqual([0, expect.stringContaining('node/node-a drained')]);
  expect(run.said()).toMatch(/will retry after 5s.*podferry: (migrating to node-b, |waiting)/s);

  await expectAllOn('node-b');
  expect(await podsOf('everywhere')).toHaveLength(2);
  const migrations = await space.migrations();
  expect(migrations.every(isFinished)).toBe(true);
  const ofPolicy = (name: string) => migrations.filter(({ status }) => status?.policy === name);
  expect(ofPolicy('test-drain')).toHaveLength(9);
  expect(mostAtOnce(ofPolicy('test-drain'))).toBeLessThanOrEqual(2);
  expect(watch.most('test-drain', 'node-a')).toBe(2);
  expect(ofPolicy('test-drain-refused').map(({ status }) => status?.failure?.reason)).toEqual(['CheckpointFailed']);
  const [failed] = ofPolicy('test-drain-refused');
  expect((await space.events('Pod', failed?.spec.pod ?? '')).join('\n')).toMatch(/EvictedWithoutState .*Multipath TCP/);
}, 600_000);

it('uncordoned and drained the other way: the same memory once more, and what is on the volumes goes on', async () => {
  await uncordon('node-a');
  await kubectl('patch', 'migrationpolicy', 'test-drain', '--type=merge', '-p', '{"spec":{"limits":{"perSource":3}}}');
  const run = start('drain', 'node-b', ...everything, '--timeout=240s');
  expect([await run.ended, run.said()]).toEqual([0, expect.stringContaining('node/node-b drained')]);
  await expectAllOn('node-a');
  expect(watch.most('test-drain', 'node-b')).toBe(3);
  for (const pod of ['stateful-0', 'stateful-1']) {
    const { count } = await ask(await space.pod(pod));
    const journal = (await volumes.read(pod, 'journal')).trim().split('\n').map(Number);
    expect(journal.length).toBeGreaterThanOrEqual(count - 1);
    // Neither begun again nor written to by two.
    expect(journal).toEqual(journal.map((_, index) => index + 1));
  }
}, 300_000);

it('a cordon makes pods move where a policy says so; uncordoned, those that have not begun stay', async () => {
  await uncordon('node-b');
  await kubectl('delete', 'migrationpolicy', 'test-drain', 'test-drain-refused');
  const pods = await space.allReady('app=deployed', 3);
  const before = (await Promise.all(pods.map((pod) => ask(pod)))).map(({ birth }) => birth).sort();
  await createPolicy('test-drain-cordon', {
    podSelector: { matchLabels: { app: 'deployed' } },
    triggers: { eviction: false, cordon: true },
    limits: { cluster: 1 },
  });
  await kubectl('cordon', 'node-a');
  const cordoned = async () =>
    (await space.migrations()).filter(({ metadata }) => metadata.annotations?.['podferry.io/trigger'] === 'cordon');
  await until('one is under way and the others wait', async () => {
    const found = await cordoned();
    return found.length === 3 && found.some(({ status }) => (status?.phase ?? 'Pending') !== 'Pending') ? true : undefined;
  });
  await uncordon('node-a');
  await until('those that had not begun are gone', async () => ((await cordoned()).every(isFinished) ? true : undefined), 60_000);
  const moved = (await cordoned()).length;
  expect(moved).toBeGreaterThanOrEqual(1);
  expect(moved).toBeLessThan(3);
  await kubectl('cordon', 'node-a');
  await until(
    'all have moved',
    async () => ((await podsOf('deployed')).every(({ spec }) => spec.nodeName === 'node-b') ? true : undefined),
    120_000,
  );
  await uncordon('node-a');
  const after = await Promise.all((await space.allReady('app=deployed', 3)).map((pod) => ask(pod)));
  expect(after.map(({ birth }) => birth).sort()).toEqual(before);
}, 300_000);

it('a dry run of a drain says so and changes nothing', async () => {
  await createPolicy('test-drain', { podSelector: { matchLabels: { state: 'kept' } } });
  const known = (await space.migrations()).length;
  const run = start('drain', 'node-a', ...everything, '--dry-run=server');
  expect([await run.ended, run.said()]).toEqual([0, expect.stringContaining('drained (server dry run)')]);
  expect(await space.migrations()).toHaveLength(known);
});
