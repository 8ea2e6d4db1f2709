import type { Pod } from '../../src/api/pod.ts';
import { ask, type Counted, counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { imageOf } from './support/images.ts';
import { kubectl, onNode } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-roll-back');

/** A node whose CRIU does not work: the checkpoint arrives, and the restore fails after the switch. */
beforeAll(async () => {
  await onNode(
    'node-b',
    'sh',
    '-ec',
    'test -e /usr/sbin/criu.real || mv /usr/sbin/criu /usr/sbin/criu.real; printf "#!/bin/sh\\nexit 1\\n" >/usr/sbin/criu; chmod 755 /usr/sbin/criu',
  );
});
afterAll(() => onNode('node-b', 'sh', '-ec', 'test ! -e /usr/sbin/criu.real || mv -f /usr/sbin/criu.real /usr/sbin/criu'));

async function failedMove(pod: Pod, before: Counted): Promise<{ after: Counted; now: Pod; message: string }> {
  const began = performance.now();
  const migration = await space.finished(await space.annotate(pod.metadata.name, 'node-b'), 90_000);
  expect(migration.status).toMatchObject({ phase: 'Failed', failure: { reason: 'RestoreFailed' } });
  const now = await space.ready(pod.metadata.name);
  expect(now.spec.nodeName).toBe('node-a');
  const after = await ask(now);
  expectSameMemory(before, after, (performance.now() - began) / 1000);
  expect(after.count).toBeGreaterThan(before.count);
  // It goes on for good: nothing of the failed move disturbs it later.
  await until('it counts on', async () => ((await ask(now)).count > after.count + 10 ? true : undefined));
  return { after, now, message: readyMessage(migration) };
}

it('a pod of a Deployment is given back to its ReplicaSet and resumed', async () => {
  const template = { metadata: { labels: { app: 'deployed' } }, spec: await counterSpec('node-a') };
  await space.create({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'deployed' },
    spec: { replicas: 1, selector: { matchLabels: { app: 'deployed' } }, template },
  });
  const [pod] = await space.allReady('app=deployed', 1);
  const { now, message } = await failedMove(pod as Pod, await counted(pod as Pod));
  expect(now.metadata.uid).toBe(pod?.metadata.uid);
  expect(message).toMatch(/was not restored.*runs on on node node-a/);
  await until('the ReplicaSet has it again', async () =>
    (await space.pod(now.metadata.name)).metadata.ownerReferences?.find(({ kind, controller }) => kind === 'ReplicaSet' && controller),
  );
  expect(now.metadata.labels).toEqual(pod?.metadata.labels);
  expect((await space.allReady('app=deployed', 1))[0]?.metadata.uid).toBe(pod?.metadata.uid);
});

it('a bare pod, whose name was freed already, returns from its archive with its volumes', async () => {
  const spec = await counterSpec(
    'node-a',
    { env: { JOURNAL: '/notes/journal', MB: '4' }, volumeMounts: [{ name: 'notes', mountPath: '/notes' }] },
    { volumes: [{ name: 'notes', emptyDir: {} }] },
  );
  const shell = {
    name: 'shell',
    image: await imageOf('shell'),
    args: ['-c', 'trap exit TERM; sleep 1000000 & wait'],
    volumeMounts: [{ name: 'notes', mountPath: '/notes' }],
  };
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'bare' },
    spec: { ...spec, containers: [...spec.containers, shell] },
  });
  const pod = await space.ready('bare');
  const { now, message } = await failedMove(pod, await counted(pod));
  expect(now.metadata.uid).not.toBe(pod.metadata.uid);
  expect(message).toMatch(/runs again on node node-a, restored from its archive/);
  const journal = (await kubectl('-n', space.name, 'exec', 'bare', '-c', 'shell', '--', '/bin/cat', '/notes/journal'))
    .trim()
    .split('\n')
    .map(Number);
  expect(journal).toEqual(journal.map((_, index) => index + 1));
});

it('a pod of a StatefulSet returns from its archive, and no empty one takes its name meanwhile', async () => {
  const template = { metadata: { labels: { app: 'stateful' } }, spec: await counterSpec('node-a') };
  await space.create({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'stateful' },
    spec: { replicas: 1, serviceName: 'none', selector: { matchLabels: { app: 'stateful' } }, template },
  });
  const [pod] = await space.allReady('app=stateful', 1);
  const { message } = await failedMove(pod as Pod, await counted(pod as Pod));
  expect(message).toMatch(/runs again on node node-a, restored from its archive/);
});

it('a bare pod whose memory was sent ahead returns whole', async () => {
  const spec = await counterSpec('node-a', { env: { MB: '512' } });
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'large' }, spec });
  const pod = await space.ready('large', 60_000);
  await failedMove(pod, await counted(pod));
  const migration = (await space.migrations()).find((each) => each.spec.pod === 'large');
  expect(migration?.status?.containers?.[0]?.warmBytes?.[0]).toBeGreaterThan(512 * 2 ** 20);
}, 180_000);

it('leaves no archive behind on either node', async () => {
  await until('the archives are gone', async () => {
    const left = await Promise.all(
      ['node-a', 'node-b'].map((node) =>
        onNode(
          node,
          'sh',
          '-c',
          'ls /var/lib/kubelet/checkpoints /var/lib/podferry/checkpoints /var/lib/podferry/sources /var/lib/podferry/volumes 2>/dev/null | grep -v ":$" || true',
        ),
      ),
    );
    return left.join('').trim() === '' ? true : undefined;
  });
});
