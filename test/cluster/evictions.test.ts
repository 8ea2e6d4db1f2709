import type { Pod } from '../../src/api/pod.ts';
import type { DeleteOptions } from '../../src/kube/calls.ts';
import { KubeError } from '../../src/kube/errors.ts';
import { disruptionBudgets } from '../../src/kube/resources.ts';
import { cluster } from './support/cluster.ts';
import { ask, counted, counterSpec } from './support/counter.ts';
import { createPolicy, usePolicies } from './support/drain.ts';
import { kubectl } from './support/lab.ts';
import { type Space, useNamespaces } from './support/space.ts';
import { until } from './support/until.ts';
import { workload } from './support/workload.ts';

/**
 * The cases of kubernetes' own tests of evictions and disruption budgets, with podferry installed: which case of theirs is
 * which here is listed in README.md. They run where podferry is not enabled, where it is but no policy covers the pods, and
 * where one does; there "evicted" means moved.
 */

usePolicies('test-evictions');
const spaces = useNamespaces('test-evictions-disabled', 'test-evictions-uncovered', 'test-evictions-covered');
const [disabled, uncovered, covered] = spaces as [Space, Space, Space];
const uncoveredOnes = [disabled, uncovered];

/** HTTP status of an eviction, and its causes. */
async function evict(
  space: Space,
  name: string,
  options: DeleteOptions = {},
): Promise<{ code: number; causes: string[]; message: string }> {
  try {
    await (await cluster()).evict({ namespace: space.name, name }, options);
    return { code: 201, causes: [], message: '' };
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    return { code: error.status, causes: (error.details?.causes ?? []).map(({ reason = '' }) => reason), message: error.message };
  }
}
const allowed = expect.objectContaining({ code: 201 });
const budgetSaysNo = expect.objectContaining({ code: 429, causes: ['DisruptionBudget'] });

/** The one budget of the namespace for pods of this app, once it was reckoned up. */
async function budget(space: Space, app: string, pods: number, spec: object): Promise<void> {
  await removeBudget(space);
  await space.create({
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: 'budget' },
    spec: { selector: { matchLabels: { app } }, ...spec },
  });
  await until('the budget was reckoned up', async () => {
    const { metadata, status } = await (await cluster()).get(disruptionBudgets, { namespace: space.name, name: 'budget' });
    return status?.observedGeneration === metadata.generation && status?.expectedPods === pods ? true : undefined;
  });
}
const removeBudget = (space: Space) => kubectl('-n', space.name, 'delete', 'pdb', 'budget', '--ignore-not-found');

/** One that is not on its way out. */
async function anyPod(space: Space, app = 'web'): Promise<Pod> {
  const pod = (await space.pods(`app=${app}`)).find(({ metadata }) => !metadata.deletionTimestamp);
  if (!pod) throw new Error(`there is no pod of ${app} in ${space.name}`);
  return pod;
}

beforeAll(async () => {
  await kubectl('label', 'namespace', disabled.name, 'podferry.io/enabled-');
  await createPolicy('test-evictions', { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': covered.name } } });
  const spec = await counterSpec();
  const never = await counterSpec(undefined, { readinessProbe: { tcpSocket: { port: 9 }, periodSeconds: 1 } });
  const done = await counterSpec(undefined, { env: { FINISH: '1' }, readinessProbe: undefined }, { restartPolicy: 'Never' });
  for (const space of spaces) {
    await space.create(workload('ReplicaSet', 'web', {}, spec, { replicas: 3 }));
    await space.create(workload('ReplicaSet', 'sick', {}, never, { replicas: 2 }));
    await space.create(workload('Pod', 'done', {}, done));
  }
  for (const space of spaces) {
    await space.allReady('app=web', 3, 120_000);
    await until(`the pods of ${space.name} run`, async () => {
      const phases = (await space.pods()).map(({ status }) => status?.phase);
      return phases.filter((phase) => phase === 'Running').length === 5 && phases.includes('Succeeded') ? true : undefined;
    });
  }
}, 240_000);

describe('whether a budget allows an eviction (by dry runs)', () => {
  it.each<[string, string, object | undefined, boolean]>([
    ['no PDB', 'web', undefined, true],
    ['too few pods, absolute', 'web', { minAvailable: 3 }, false],
    ['enough pods, absolute', 'web', { minAvailable: 2 }, true],
    ['too few pods, replicaSet, percentage', 'web', { minAvailable: '90%' }, false],
    ['enough pods, replicaSet, percentage', 'web', { minAvailable: '60%' }, true],
    ['maxUnavailable allow single eviction, percentage', 'web', { maxUnavailable: '10%' }, true],
    ['maxUnavailable deny evictions, integer', 'web', { maxUnavailable: 0 }, false],
    ['ready pods with IfHealthyBudget', 'web', { maxUnavailable: 1, unhealthyPodEvictionPolicy: 'IfHealthyBudget' }, true],
    ['ready pods with AlwaysAllow', 'web', { maxUnavailable: 0, unhealthyPodEvictionPolicy: 'AlwaysAllow' }, false],
    ['unready pods with the default policy', 'sick', { maxUnavailable: 1 }, false],
    ['unready pods with IfHealthyBudget', 'sick', { maxUnavailable: 1, unhealthyPodEvictionPolicy: 'IfHealthyBudget' }, false],
    ['unready pods with AlwaysAllow', 'sick', { maxUnavailable: 1, unhealthyPodEvictionPolicy: 'AlwaysAllow' }, true],
    ['a pod that has ended', 'done', { minAvailable: 1 }, true],
  ])('%s', async (_name, app, spec, expected) => {
    const counts = { web: 3, sick: 2, done: 1 };
    await Promise.all(
      spaces.map(async (space) => {
        if (spec) await budget(space, app, counts[app as keyof typeof counts], spec);
        const answer = await evict(space, (await anyPod(space, app)).metadata.name, { dryRun: true });
        expect([space.name, answer]).toEqual([space.name, expected ? allowed : budgetSaysNo]);
      }),
    );
  });

  afterAll(() => Promise.all([...spaces.map(removeBudget), covered.migrations().then((made) => expect(made).toEqual([]))]));
});

it('versions, names and preconditions', async () => {
  for (const space of spaces) {
    const { metadata } = await anyPod(space);
    const beta = { apiVersion: 'policy/v1beta1', kind: 'Eviction', metadata: { name: metadata.name, namespace: space.name } };
    const path = `/api/v1/namespaces/${space.name}/pods/${metadata.name}/eviction`;
    await (await cluster()).request({ method: 'POST', path, query: { dryRun: 'All' }, body: beta });
    expect((await evict(space, 'nobody')).code).toBe(404);
    for (const preconditions of [{ uid: '00000000-0000-0000-0000-000000000000' }, { resourceVersion: '1' }])
      expect([space.name, (await evict(space, metadata.name, { preconditions })).code]).toEqual([space.name, 409]);
  }
  expect(await covered.migrations()).toEqual([]);
});

it.each(uncoveredOnes)('a budget blocks an eviction until it allows it; not covered ($name)', async (space) => {
  await budget(space, 'web', 3, { minAvailable: 3 });
  const first = await anyPod(space);
  expect(await evict(space, first.metadata.name)).toEqual(budgetSaysNo);
  await budget(space, 'web', 3, { minAvailable: 2 });
  const { uid } = first.metadata;
  expect(await evict(space, first.metadata.name, { preconditions: { uid } })).toEqual(allowed);
  await space.allReady('app=web', 3);
  await budget(space, 'web', 3, { maxUnavailable: 0 });
  const second = await anyPod(space);
  expect(await evict(space, second.metadata.name)).toEqual(budgetSaysNo);
  await removeBudget(space);
  expect(await evict(space, second.metadata.name)).toEqual(allowed);
  expect(await space.migrations()).toEqual([]);
});

describe('covered', () => {
  /** Evicted again and again, as whoever drains does, until the pod is gone; where its memory runs then. */
  async function evicted(pod: Pod, app: string): Promise<Pod[]> {
    await until(
      `pod ${pod.metadata.name} is gone`,
      async () => {
        const { code, causes } = await evict(covered, pod.metadata.name, { preconditions: { uid: pod.metadata.uid } });
        expect([404, 409, 429]).toContain(code);
        expect(causes).toEqual([]);
        return code === 429 ? undefined : true;
      },
      120_000,
      1000,
    );
    return covered.pods(`app=${app}`);
  }
  const migrationOf = async (pod: Pod) => (await covered.migrations()).find(({ spec }) => spec.pod === pod.metadata.name);
  const held = (pod: Pod) =>
    until('the budget holds the migration back', async () => {
      const found = await migrationOf(pod);
      const says = found?.status?.conditions?.some(({ message }) => message?.includes('disruption budget test-evictions-covered/budget'));
      return found?.status?.phase === 'Pending' && says ? found : undefined;
    });

  it('a budget blocks the move until it allows it', async () => {
    await budget(covered, 'web', 3, { minAvailable: 3 });
    const first = await anyPod(covered);
    const { birth } = await counted(first, 1);
    expect(await evict(covered, first.metadata.name)).toMatchObject({ code: 429, message: expect.stringContaining('podferry: wait') });
    await held(first);
    await budget(covered, 'web', 3, { minAvailable: 2 });
    await evicted(first, 'web');
    const pods = await covered.allReady('app=web', 3);
    expect((await Promise.all(pods.map((pod) => ask(pod)))).map((each) => each.birth)).toContain(birth);

    await budget(covered, 'web', 3, { maxUnavailable: 0 });
    const second = await anyPod(covered);
    expect((await evict(covered, second.metadata.name)).code).toBe(429);
    const migration = await held(second);
    await removeBudget(covered);
    await covered.succeeded(migration, 90_000);
  }, 240_000);

  it('pods that are not Ready move as their budget lets unready pods go', async () => {
    await budget(covered, 'sick', 2, { maxUnavailable: 1, unhealthyPodEvictionPolicy: 'IfHealthyBudget' });
    const pod = await anyPod(covered, 'sick');
    expect((await evict(covered, pod.metadata.name)).code).toBe(429);
    const { metadata } = await held(pod);
    await kubectl('-n', covered.name, 'delete', 'migration', metadata.name);
    await budget(covered, 'sick', 2, { maxUnavailable: 1, unhealthyPodEvictionPolicy: 'AlwaysAllow' });
    expect((await evict(covered, pod.metadata.name)).code).toBe(429);
    await covered.succeeded({ metadata }, 120_000);
    await removeBudget(covered);
  }, 180_000);

  it('a pod that has ended, and one that has not begun, go at once', async () => {
    expect(await evict(covered, 'done')).toEqual(allowed);
    const nowhere = { ...(await counterSpec()), nodeSelector: { 'kubernetes.io/hostname': 'nowhere' } };
    await covered.create(workload('Pod', 'pending', {}, nowhere));
    expect(await evict(covered, 'pending')).toEqual(allowed);
    await until('it is gone', async () => ((await covered.findPod('pending')) ? undefined : true));
  });
});
