import { type Pod, pods } from '../../src/kube/resources.ts';
import { podferryIsReady } from '../faults/inject.ts';
import { cluster } from './support/cluster.ts';
import { ask, counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { createPolicy, usePolicies } from './support/drain.ts';
import { kubectl, onNode } from './support/lab.ts';
import { useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

usePolicies('test-webhook-down', 'test-webhook-down-slow');
const space = useNamespace('test-webhook-down');
const system = 'podferry-system';

/** No replica can be reached, as when all are down at once: the Service leads nowhere, and connections that are open end. */
async function webhook(up: boolean): Promise<void> {
  const selector = { 'app.kubernetes.io/component': up ? 'webhook' : 'nobody' };
  await kubectl('-n', system, 'patch', 'service', 'podferry-webhook', '--type=merge', '-p', JSON.stringify({ spec: { selector } }));
  if (!up)
    await Promise.all(
      ['node-a', 'node-b'].map((node) => onNode(node, 'pkill', '-KILL', '-f', 'podferry/main.js webhook').catch(() => undefined)),
    );
}
afterAll(async () => {
  await webhook(true);
  await podferryIsReady();
}, 130_000);

it('no empty pod takes the place of one that is being moved; the move goes on when the webhook is back', async () => {
  const template = { metadata: { labels: { app: 'stateful' } }, spec: await counterSpec('node-a', { env: { MB: '128' } }) };
  await space.create({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'stateful' },
    spec: { replicas: 1, serviceName: 'none', selector: { matchLabels: { app: 'stateful' } }, template },
  });
  // So slow that the webhook is down long before the source is gone.
  await createPolicy('test-webhook-down-slow', {
    podSelector: { matchLabels: { app: 'stateful' } },
    limits: { bytesPerSecond: 16 * 2 ** 20 },
    warmRounds: 0,
  });
  const [pod] = await space.allReady('app=stateful', 1);
  const before = await counted(pod as NonNullable<typeof pod>);
  const began = performance.now();
  await expect((await cluster()).evict({ namespace: space.name, name: 'stateful-0' })).rejects.toThrow('podferry');
  const migration = await until(
    'the pod is frozen',
    async () => (await space.migrations()).find(({ status }) => status?.steps?.frozen),
    30_000,
    20,
  );
  await webhook(false);
  await until(
    'the source is gone',
    async () => ((await space.findPod('stateful-0'))?.metadata.uid === pod?.metadata.uid ? undefined : true),
    60_000,
  );
  // The StatefulSet tries, and is told why not.
  const told = await until(
    'it is told',
    async () => {
      const events = await space.events('StatefulSet', 'stateful');
      const found = events.find((event) => event.startsWith('FailedCreate') && event.includes('its place is kept'));
      if (!found) throw new Error(events.join('\n'));
      return found;
    },
    30_000,
  );
  expect(told).toContain(`podferry moves pod stateful-0 (Migration ${migration.metadata.name})`);
  expect(await space.findPod('stateful-0')).toBeUndefined();
  await webhook(true);
  await space.succeeded(migration, 90_000);
  const target = await space.ready('stateful-0');
  expectSameMemory(before, await ask(target), (performance.now() - began) / 1000);
}, 180_000);

it('pods that have nothing to do with a migration are created as ever', async () => {
  await webhook(false);
  try {
    const template = { metadata: { labels: { app: 'other' } }, spec: await counterSpec() };
    await space.create({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'other' },
      spec: { replicas: 1, selector: { matchLabels: { app: 'other' } }, template },
    });
    await space.allReady('app=other', 1);
  } finally {
    await webhook(true);
  }
});

it('pods that a policy prepares are created as they are, also copies of prepared ones', async () => {
  const client = await cluster();
  const name = 'test-webhook-down';
  await createPolicy(name, { prepare: true });
  const pod = { apiVersion: 'v1', kind: 'Pod', spec: await counterSpec() };
  const wantedOf = (made: Pod) => made.spec.securityContext?.seccompProfile;
  try {
    await until('pods are prepared', async () => {
      const made = { ...pod, metadata: { name: 'dry', namespace: space.name } } as unknown as Pod;
      return wantedOf(await client.create(pods, made, { dryRun: true }));
    });
    await webhook(false);
    for (const annotations of [undefined, { 'podferry.io/prepared': '{}' }]) {
      const began = performance.now();
      const made = await space.create<Pod>({
        ...pod,
        metadata: { name: annotations ? 'copy' : 'new', ...(annotations ? { annotations } : {}) },
      });
      expect(wantedOf(made)).toBeUndefined();
      expect(performance.now() - began).toBeLessThan(5000);
    }
  } finally {
    await webhook(true);
    await kubectl('delete', 'migrationpolicy', name);
  }
});

it('evictions wait, unless their namespace would rather lose memory', async () => {
  const client = await cluster();
  const [pod] = await space.allReady('app=other', 1);
  const name = pod?.metadata.name ?? '';
  const evict = () =>
    client.request({
      method: 'POST',
      path: `/api/v1/namespaces/${space.name}/pods/${name}/eviction`,
      body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: space.name } },
    });
  await webhook(false);
  try {
    await expect(evict()).rejects.toThrow(/failed calling webhook "evictions.podferry.io"/);
    expect((await space.pod(name)).metadata.deletionTimestamp).toBeUndefined();
    await kubectl('label', 'namespace', space.name, 'podferry.io/when-down=Evict');
    // The API server sees the label when its cache does.
    await until('the eviction goes through', () =>
      evict().then(
        () => true,
        () => undefined,
      ),
    );
    await until('the pod is gone', async () => ((await space.findPod(name)) ? undefined : true));
  } finally {
    await webhook(true);
  }
});
