import { join } from 'node:path';
import type { Migration } from '../../src/api/migration.ts';
import type { MigrationPolicy } from '../../src/api/policy.ts';
import type { MigrationPreview } from '../../src/api/preview.ts';
import { migrationPolicies, migrationPreviews, pods } from '../../src/kube/resources.ts';
import { cluster } from './support/cluster.ts';
import { counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { uncordon } from './support/drain.ts';
import { host, kubectl } from './support/lab.ts';
import { useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-preview');
const root = join(import.meta.dirname, '../..');
const policies = ['test-preview', 'test-preview-nice'];

async function clean(): Promise<void> {
  await kubectl('delete', 'migrationpolicy', ...policies, '--ignore-not-found');
  await kubectl('delete', 'migrationpreview', 'test-preview', '--ignore-not-found');
  await uncordon('node-a');
}
beforeAll(clean);
afterAll(clean);

async function policy(name: string, spec: MigrationPolicy['spec']): Promise<void> {
  const client = await cluster();
  await client.create(migrationPolicies, { apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationPolicy', metadata: { name }, spec });
}

/** What the installed program says, with the kubeconfig of the cluster admin. */
const podferry = (...args: string[]) =>
  host(join(root, 'node_modules/.bin/node'), join(root, 'dist/main.js'), 'preview', 'node-a', ...args);

/** What of a Migration is known before it is made: neither who asks, nor what the API server fills in. */
function essence({ metadata: { name, labels, annotations }, spec }: Migration) {
  const { 'podferry.io/requested-by': _who, ...others } = annotations ?? {};
  return { name, labels, annotations: others, pod: spec.pod, destination: spec.destination, ttl: spec.ttlSecondsAfterFinished };
}
const byName = (left: { name: string }, right: { name: string }) => left.name.localeCompare(right.name);

it('a preview of a real node is what a drain then makes', async () => {
  const covered = { preview: 'yes', state: 'kept' };
  await policy('test-preview', { podSelector: { matchLabels: covered }, limits: { perSource: 1 }, onFailure: 'Block' });
  await policy('test-preview-nice', { priority: 1, podSelector: { matchLabels: { preview: 'yes', app: 'terminal' } }, onFailure: 'Evict' });
  await space.create({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'deployed' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'deployed' } },
      template: { metadata: { labels: { app: 'deployed', ...covered } }, spec: await counterSpec('node-a') },
    },
  });
  const bare = { bare: covered, plain: { preview: 'yes' }, terminal: covered };
  for (const [name, labels] of Object.entries(bare)) {
    await space.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, labels: { app: name, ...labels } },
      spec: await counterSpec('node-a', name === 'terminal' ? { tty: true } : {}),
    });
  }
  await space.allReady('preview=yes', 5);
  const before = await counted(await space.pod('bare'));
  const started = performance.now();

  await (await cluster()).create(migrationPreviews, {
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'MigrationPreview',
    metadata: { name: 'test-preview' },
    spec: { nodeName: 'node-a' },
  });
  await kubectl('wait', '--for=condition=Ready', 'migrationpreview/test-preview', '--timeout=30s');
  const seen: MigrationPreview = await (await cluster()).get(migrationPreviews, { name: 'test-preview' });
  const own = seen.status?.pods?.filter(({ namespace }) => namespace === space.name) ?? [];
  const deployed = (await space.pods('app=deployed')).map(({ metadata }) => metadata.name).sort();
  expect(own.map(({ name, verdict }) => [name, verdict])).toEqual([
    ...['bare', ...deployed].map((name) => [name, 'Migrate']),
    ['terminal', 'Evict'],
    ['plain', 'Uncovered'],
  ]);
  expect(own.map(({ queuePosition }) => queuePosition)).toEqual([undefined, 1, 2, undefined, undefined]);
  expect(seen.status?.pods).toContainEqual(
    expect.objectContaining({
      namespace: 'podferry-system',
      verdict: 'Ignored',
      message: expect.stringContaining('DaemonSet podferry-agent'),
    }),
  );
  const listed = (JSON.parse(await podferry('--policy', 'test-preview', '-o', 'json')) as { items: Migration[] }).items;
  expect(listed.map(({ metadata }) => metadata.name)).toEqual(own.flatMap(({ migration }) => migration ?? []));
  const inside = await kubectl(
    ...['-n', 'podferry-system', 'exec', 'deployment/podferry-controller', '--'],
    ...['node', '/podferry/main.js', 'preview', 'node-a', '--policy', 'test-preview', '-o', 'json'],
  );
  expect(JSON.parse(inside)).toEqual({ apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationList', metadata: {}, items: listed });
  expect(await space.migrations()).toEqual([]);

  // Only the pods of this test: podferry's own stay.
  await kubectl(
    'drain',
    'node-a',
    '--ignore-daemonsets',
    '--delete-emptydir-data',
    '--force',
    '--pod-selector=preview=yes',
    '--timeout=150s',
  );
  const made = await space.migrations();
  expect(made.map(essence).sort(byName)).toEqual(listed.map(essence).sort(byName));
  expect(await space.findPod('plain')).toBeUndefined();
  expect((await space.events('Pod', 'terminal')).join('\n')).toMatch(/EvictedWithoutState .*terminal/);
  await until('all are moved', async () =>
    (await space.migrations()).every(({ status }) => status?.phase === 'Succeeded') ? true : undefined,
  );
  const after = await counted(await space.ready('bare'));
  expectSameMemory(before, after, (performance.now() - started) / 1000);
  const left = (await (await cluster()).list(pods, { namespace: space.name, fieldSelector: 'spec.nodeName=node-a' })).items;
  expect(left).toEqual([]);
}, 300_000);
