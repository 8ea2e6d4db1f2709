import type { Pod } from '../../src/api/pod.ts';
import { type CounterOptions, counted, counterSpec } from './support/counter.ts';
import { createPolicy, everything, outcome, type Run, start, uncordon, usePolicies } from './support/drain.ts';
import { imageOf } from './support/images.ts';
import { kubectl, lab, onNode } from './support/lab.ts';
import { type Space, useNamespaces } from './support/space.ts';
import { until } from './support/until.ts';
import { type Kind, workload } from './support/workload.ts';

/**
 * The cases of kubectl's own tests of drain and cordon, with podferry installed and stock kubectl: which case of theirs
 * is which here is listed in README.md. Each pod exists three times: where podferry is not enabled, where it is but no
 * policy covers the pod, and where one does. The first two behave as without podferry; a covered pod goes with its memory.
 */

const namespaces = ['test-kubectl-disabled', 'test-kubectl-uncovered', 'test-kubectl-covered', 'test-kubectl-terminating'] as const;
const user = 'test-drainer';
const staticPod = '/lab/node-a/manifests/test-kubectl.yaml';

// Before the namespaces' own: what has finalizers does not go.
afterAll(async () => {
  await onNode('node-a', 'rm', '-f', staticPod);
  for (const space of spaces) for (const pod of await space.pods('case=held')) await letGo(pod);
  await kubectl('delete', 'clusterrole,clusterrolebinding', user, '--ignore-not-found');
});
usePolicies('test-kubectl');
const spaces = useNamespaces(...namespaces);
const [disabled, uncovered, covered, terminating] = spaces as [Space, Space, Space, Space];
const three = [disabled, uncovered, covered];
const letGo = ({ metadata }: Pod) =>
  kubectl('-n', metadata.namespace ?? '', 'patch', 'pod', metadata.name, '--type=merge', '-p', '{"metadata":{"finalizers":null}}');

const scratch = { volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] } satisfies CounterOptions;
const withScratch = { volumes: [{ name: 'scratch', emptyDir: {} }] };
const finishes = { env: { FINISH: '1' }, readinessProbe: undefined } satisfies CounterOptions;

/** name of the case (label `case`) → what its pods are of. */
const cases: Record<string, { kind: Kind; options?: CounterOptions; fields?: object; within?: Space[] }> = {
  rc: { kind: 'ReplicationController' },
  rs: { kind: 'ReplicaSet' },
  deleted: { kind: 'ReplicaSet' },
  sts: { kind: 'StatefulSet' },
  ds: { kind: 'DaemonSet', options: scratch, fields: withScratch, within: [uncovered, covered] },
  job: { kind: 'Job', options: scratch, fields: withScratch },
  'job-done': { kind: 'Job', options: { ...scratch, ...finishes }, fields: withScratch },
  naked: { kind: 'Pod' },
  empty: { kind: 'Pod', options: { ...scratch, env: { JOURNAL: '/scratch/journal' } }, fields: withScratch },
  'empty-done': { kind: 'Pod', options: { ...scratch, ...finishes }, fields: { ...withScratch, restartPolicy: 'Never' } },
};
const done = (name: string) => name.endsWith('-done');
const births = new Map<string | undefined, string>();

async function memoryOf(pod: Pod): Promise<string> {
  return (await counted(pod, 1)).birth;
}

async function make(space: Space, name: string, { kind, options, fields }: (typeof cases)[string]): Promise<void> {
  await space.create(workload(kind, name, { case: name }, await counterSpec(kind === 'DaemonSet' ? undefined : 'node-a', options, fields)));
}

/** Those of a case that are on node-a. */
const podsOf = async (space: Space, name: string) => (await space.pods(`case=${name}`)).filter(({ spec }) => spec.nodeName === 'node-a');

const within = (name: string) => cases[name]?.within ?? three;

beforeAll(async () => {
  await kubectl('delete', 'clusterrole,clusterrolebinding', user, '--ignore-not-found');
  await kubectl('label', 'namespace', disabled.name, 'podferry.io/enabled-');
  const labelled = { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In' as const, values: namespaces.slice(2) }] };
  await createPolicy('test-kubectl', { namespaceSelector: labelled });
  await Promise.all(Object.entries(cases).flatMap(([name, each]) => within(name).map((space) => make(space, name, each))));
  for (const name of Object.keys(cases)) {
    for (const space of within(name)) {
      const [pod] = await until(
        `the pod of case ${name} in ${space.name} is there`,
        async () => {
          const found = await podsOf(space, name);
          const condition = (type: string) => found[0]?.status?.conditions?.find((each) => each.type === type)?.status === 'True';
          return (done(name) ? found[0]?.status?.phase === 'Succeeded' : condition('Ready')) ? found : undefined;
        },
        120_000,
      );
      if (pod && !done(name)) births.set(pod.metadata.uid, await memoryOf(pod));
    }
  }
}, 240_000);

const identities = async () =>
  (await Promise.all(three.flatMap((space) => Object.keys(cases).map((name) => podsOf(space, name))))).flatMap((pods) =>
    pods.map(({ metadata }) => `${metadata.namespace}/${metadata.name} ${metadata.uid} ${metadata.deletionTimestamp ?? 'stays'}`),
  );
const nothingMigrates = async () => expect((await Promise.all(three.map((space) => space.migrations()))).flat()).toEqual([]);

describe('cordon and uncordon', () => {
  const cordoned = async (node: string) => (await kubectl('get', 'node', node, '-o', 'jsonpath={.spec.unschedulable}')) === 'true';

  it.each<[string, string[], [number, string], boolean]>([
    ['node/node syntax', ['cordon', 'node/node-a', '--dry-run=client'], [0, 'node/node-a cordoned (dry run)'], false],
    ['dry run by the server', ['cordon', 'node-a', '--dry-run=server'], [0, 'node/node-a cordoned (server dry run)'], false],
    ['uncordon does nothing', ['uncordon', 'node-a'], [0, 'node/node-a already uncordoned'], false],
    ['no arguments', ['cordon'], [1, 'error: USAGE: cordon NODE'], false],
    ['a selector that matches nothing', ['cordon', '--selector=invalid=label'], [0, ''], false],
    ['missing node', ['cordon', 'node-z'], [1, 'nodes "node-z" not found'], false],
    ['for real, by a selector', ['cordon', '--selector=kubernetes.io/hostname=node-a'], [0, 'node/node-a cordoned'], true],
    ['cordon does nothing', ['cordon', 'node-a'], [0, 'node/node-a already cordoned'], true],
    ['multiple nodes', ['uncordon', 'node-a', 'node-b'], [0, 'node/node-a uncordoned'], false],
  ])('%s', async (_name, args, [code, said], expected) => {
    expect(await outcome(...args)).toEqual([code, expect.stringContaining(said)]);
    expect(await cordoned('node-a')).toBe(expected);
  });
});

describe('drains that take nothing away', () => {
  const local = 'cannot delete Pods with local storage (use --delete-emptydir-data to override)';
  it.each<[string, string[], number, string]>([
    ['DS-managed pod', ['--pod-selector=case=ds'], 1, 'cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)'],
    ['DS-managed pod with --ignore-daemonsets', ['--pod-selector=case=ds', '--ignore-daemonsets'], 0, 'ignoring DaemonSet-managed Pods'],
    ['naked pod', ['--pod-selector=case=naked'], 1, 'cannot delete Pods that declare no controller (use --force to override)'],
    ['pod with EmptyDir', ['--pod-selector=case=empty', '--force'], 1, local],
    ['empty node', ['--pod-selector=case=none'], 0, 'node/node-a drained'],
    ['fails upon eviction', ['--pod-selector=case=rs', `--as=${user}`], 1, 'cannot create resource "pods/eviction"'],
    ['a node and a selector', ['--selector=kubernetes.io/hostname=node-a'], 1, 'cannot specify both a node name and a --selector option'],
    ['--dry-run=client', ['--pod-selector=case', '--dry-run=client', ...everything], 0, 'node/node-a drained (dry run)'],
    ['--dry-run=server', ['--pod-selector=case', '--dry-run=server', ...everything], 0, 'node/node-a drained (server dry run)'],
  ])('%s', async (_name, args, code, said) => {
    if (args.includes(`--as=${user}`)) {
      const verbs = '--verb=get,list,patch';
      await kubectl('create', 'clusterrole', user, verbs, '--resource=nodes,pods');
      await kubectl('create', 'clusterrolebinding', user, `--clusterrole=${user}`, `--user=${user}`);
    }
    const before = await identities();
    expect(await outcome('drain', 'node-a', ...args)).toEqual([code, expect.stringContaining(said)]);
    expect(await identities()).toEqual(before);
    await nothingMigrates();
  });

  it('a static pod is passed over', async () => {
    const { pauseImage } = await lab();
    const spec = { containers: [{ name: 'pause', image: pauseImage }], terminationGracePeriodSeconds: 0 };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'static', namespace: covered.name, labels: { case: 'static' } }, spec };
    await onNode('node-a', 'sh', '-ec', `echo '${JSON.stringify(pod)}' >${staticPod}`);
    const { metadata } = await covered.ready('static-node-a', 60_000);
    expect(await outcome('drain', 'node-a', '--pod-selector=case=static')).toEqual([0, expect.stringContaining('node/node-a drained')]);
    expect((await covered.pod('static-node-a')).metadata.uid).toBe(metadata.uid);
    await onNode('node-a', 'rm', staticPod);
  });
});

describe('drains that empty the node, several at a time', () => {
  const drains: Record<string, string[]> = {
    rc: ['node-a'],
    rs: ['--selector=kubernetes.io/hostname=node-a'],
    deleted: ['node-a', '--disable-eviction'],
    sts: ['node-a'],
    job: ['node-a', '--force', '--delete-emptydir-data=true', '--chunk-size=1'],
    'job-done': ['node-a'],
    naked: ['node-a', '--force'],
    empty: ['node-a', '--force', '--delete-emptydir-data=true'],
    'empty-done': ['node-a'],
  };
  const runs = new Map<string, Run>();

  beforeAll(async () => {
    await kubectl('cordon', 'node-a');
    for (const [name, args] of Object.entries(drains))
      runs.set(name, start('drain', ...args, `--pod-selector=case=${name}`, '--timeout=180s'));
  });

  it.each(Object.keys(drains))(
    '%s',
    async (name) => {
      const run = runs.get(name) as Run;
      expect([await run.ended, run.said()]).toEqual([0, expect.stringContaining('node/node-a drained')]);
      if (name === 'rc') expect(run.said()).toMatch(/will retry after 5s.*podferry: (migrating to node-b|waiting)/s);
      for (const space of three) {
        expect(await podsOf(space, name)).toEqual([]);
        const moves = space === covered && !done(name) && name !== 'deleted';
        const stays = !done(name) && (moves || cases[name]?.kind !== 'Pod');
        const pods = await space.allReady(`case=${name}`, stays ? 1 : 0, 60_000);
        for (const pod of pods) expect([...births.values()].includes(await memoryOf(pod))).toBe(moves);
        const mine = (await space.migrations()).filter(({ spec }) => spec.pod === name || spec.pod.startsWith(`${name}-`));
        // The drain may have ended while one was still cleaning up.
        const migrations = await Promise.all(mine.map((migration) => space.finished(migration)));
        expect(migrations.map(({ status }) => [status?.phase, status?.policy])).toEqual(moves ? [['Succeeded', 'test-kubectl']] : []);
      }
    },
    240_000,
  );
});

/** A bare pod's: on node-a, does not end at SIGTERM, and is given ten minutes. */
async function slow(seconds: string) {
  const containers = [{ name: 'sleep', image: await imageOf('shell'), command: ['/bin/sleep', seconds] }];
  return { ...(await counterSpec()), nodeName: 'node-a', containers, terminationGracePeriodSeconds: 600 };
}

it('--grace-period: pods that would end in ten minutes only', async () => {
  await uncordon('node-a');
  for (const space of three) await space.create(workload('Pod', 'slow', { case: 'slow' }, await slow('100000')));
  for (const space of three) await space.ready('slow', 60_000);
  const flags = ['--pod-selector=case=slow', '--force', '--timeout=120s'];
  expect(await outcome('drain', 'node-a', ...flags, '--grace-period=1')).toEqual([0, expect.stringContaining('node/node-a drained')]);
  for (const space of [disabled, uncovered]) expect(await space.findPod('slow')).toBeUndefined();
  expect((await covered.ready('slow')).spec.nodeName).toBe('node-b');
  await kubectl('-n', covered.name, 'delete', 'pod', 'slow', '--grace-period=1');
}, 240_000);

it('orphaned DS-managed pod, without and with --force', async () => {
  await uncordon('node-a');
  await uncovered.create(workload('Pod', 'orphan', { case: 'orphan' }, await slow('200000')));
  await uncovered.ready('orphan', 60_000);
  const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'gone', uid: '00000000-0000-0000-0000-000000000000', controller: true };
  const patch = JSON.stringify({ metadata: { ownerReferences: [owner] } });
  await kubectl('-n', uncovered.name, 'patch', 'pod', 'orphan', '--type=merge', '-p', patch);
  const args = ['drain', 'node-a', '--pod-selector=case=orphan', '--timeout=60s'];
  expect(await outcome(...args)).toEqual([1, expect.stringContaining('daemonsets.apps "gone" not found')]);
  const run = start(...args, '--force');
  await until("it is deleted, in ten minutes' time", async () => (await uncovered.findPod('orphan'))?.metadata.deletionTimestamp);
  await until('it is gone', async () => {
    // Again and again: a kubelet that has not heard of the deletion yet starts it anew.
    await onNode('node-a', 'sh', '-c', "pkill -KILL -f '^/bin/sleep 200000' || true");
    return (await uncovered.findPod('orphan')) ? undefined : true;
  });
  expect([await run.ended, run.said()]).toEqual([0, expect.stringContaining('node/node-a drained')]);
  expect(await uncovered.findPod('orphan')).toBeUndefined();
});

it('--timeout and --skip-wait-for-delete-timeout: pods that are being deleted and do not go', async () => {
  await uncordon('node-a');
  const places = [disabled, uncovered];
  const finalizers = ['podferry.io/test'];
  for (const space of places) await space.create(workload('Pod', 'held', { case: 'held' }, await counterSpec('node-a'), { finalizers }));
  for (const space of places) await space.ready('held', 60_000);
  const args = ['drain', 'node-a', '--pod-selector=case=held', '--force', '--timeout=4s'];
  expect(await outcome(...args)).toEqual([1, expect.stringMatching(/global timeout|context deadline exceeded/)]);
  for (const space of places) {
    const { metadata, status } = await space.pod('held');
    expect(metadata.deletionTimestamp).toBeDefined();
    expect(status?.conditions).toContainEqual(expect.objectContaining({ type: 'DisruptionTarget', reason: 'EvictionByEvictionAPI' }));
  }
  const said = await until('they are passed over', async () => {
    const [code, words] = await outcome(...args, '--skip-wait-for-delete-timeout=1');
    return code === 0 ? words : undefined;
  });
  expect(said).toContain('node/node-a drained');
  for (const space of places) await letGo(await space.pod('held'));
}, 150_000);

it('a namespace that is being deleted', async () => {
  await uncordon('node-a');
  const finalizers = ['podferry.io/test'];
  await terminating.create(workload('Pod', 'last', { case: 'held' }, await counterSpec('node-a'), { finalizers }));
  await terminating.ready('last', 60_000);
  await kubectl('delete', 'namespace', terminating.name, '--wait=false');
  const run = start('drain', 'node-a', '--pod-selector=case=held', '--force', '--timeout=60s');
  await until('it waits for the pod', () => (run.said().includes('evicting pod') ? true : undefined));
  await letGo(await terminating.pod('last'));
  expect([await run.ended, run.said()]).toEqual([0, expect.stringContaining('node/node-a drained')]);
}, 150_000);

it('several nodes: what has no place to go waits, and goes when there is one', async () => {
  await uncordon('node-a');
  for (const space of [uncovered, covered]) await make(space, 'several', { kind: 'ReplicaSet' });
  for (const space of [uncovered, covered]) await space.allReady('case=several', 1);
  const before = await memoryOf((await covered.pods('case=several'))[0] as Pod);
  const [code, said] = await outcome('drain', 'node-a', 'node-b', '--pod-selector=case=several', '--timeout=7s');
  expect([code, said]).toEqual([1, expect.stringContaining('There are pending nodes to be drained:\n node-a')]);
  expect(said).toContain('node/node-b drained');
  expect(said).toMatch(new RegExp(`pod ${uncovered.name}/several-.* evicted|pod/several-.* evicted`));
  await uncordon('node-b');
  const pod = await until(
    'the covered pod is on node-b',
    async () =>
      (await covered.pods('case=several')).find(({ spec, metadata }) => spec.nodeName === 'node-b' && metadata.labels?.app === 'several'),
    120_000,
  );
  expect(await memoryOf(await covered.ready(pod.metadata.name, 60_000))).toBe(before);
  await uncovered.allReady('case=several', 1);
}, 240_000);
