import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { parse, parseAllDocuments } from 'yaml';
import { customResourceDefinitions as ourDefinitions } from '../../src/api/crds.ts';
import type { MigrationPolicy } from '../../src/api/policy.ts';
import type { MigrationPreview } from '../../src/api/preview.ts';
import { openCaches } from '../../src/controller/caches.ts';
import { previewWork } from '../../src/controller/preview-work.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { KubeError } from '../../src/kube/errors.ts';
import { disruptionBudgets, migrationPolicies, migrationPreviews, migrations, nodes, type Pod, pods } from '../../src/kube/resources.ts';
import type { KubeObject } from '../../src/kube/types.ts';
import { type ApiServer, eventually, startApiServer } from './harness.ts';

const root = join(import.meta.dirname, '../..');
const exec = promisify(execFile);
const node = join(root, 'node_modules/.bin/node');

let server: ApiServer;
let client: KubeClient;
let directory: string;
let program: string;
let shop: string;
let bank: string;
const written: string[] = [];

/** Runs `podferry preview` as people do; the exit code and what it said. */
async function podferry(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const ran = exec(node, [program, 'preview', ...args], {
    env: { PATH: process.env.PATH, KUBECONFIG: server.kubeconfig },
    timeout: 60_000,
  });
  return ran.then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({ code, out: stdout, err: stderr }),
  );
}

async function runPod(namespace: string, name: string, change: { labels?: object; owner?: object; spec?: object; nodeName?: string } = {}) {
  const { labels = { state: 'kept' }, owner, spec, nodeName = 'node-a' } = change;
  await client.create(pods, {
    metadata: { namespace, name, labels: { ...labels }, ...(owner ? { ownerReferences: [owner] } : {}) } as Pod['metadata'],
    spec: { nodeName, containers: [{ name: 'main', image: 'example.com/none' }], ...spec },
  });
  const status = {
    phase: 'Running',
    conditions: [{ type: 'Ready', status: 'True' }],
    containerStatuses: [
      {
        name: 'main',
        ready: true,
        restartCount: 0,
        image: 'example.com/none',
        imageID: 'x',
        state: { running: { startedAt: '2026-11-24T10:00:00Z' } },
      },
    ],
  };
  await client.patch(pods, { namespace, name }, { type: 'merge', body: { status } }, { subresource: 'status' });
}

async function makePolicy(name: string, spec: MigrationPolicy['spec']): Promise<void> {
  await client.create(migrationPolicies, { apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationPolicy', metadata: { name }, spec });
}

/** Pods by name, without what the API server counts up. */
async function versions(): Promise<Map<string, string | undefined>> {
  const { items } = await client.list(pods);
  return new Map(items.map(({ metadata }) => [`${metadata.namespace}/${metadata.name}`, metadata.resourceVersion]));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'podferry-preview-'));
  program = join(directory, 'main.js');
  [server] = await Promise.all([
    startApiServer(),
    exec('npm', ['run', '--silent', 'bundle', '--', `--outdir=${directory}`], { cwd: root }),
  ]);
  client = server.client;
  for (const crd of ourDefinitions()) {
    await server.apply(crd as unknown as KubeObject);
    await server.waitForCrd(crd.metadata.name);
  }
  shop = await server.createNamespace('shop', { 'podferry.io/enabled': 'true' });
  bank = await server.createNamespace('bank');
  for (const name of ['node-a', 'node-b']) {
    await client.create(nodes, { metadata: { name } });
    const status = { conditions: [{ type: 'Ready', status: 'True' }] };
    await client.patch(nodes, { name }, { type: 'merge', body: { status } }, { subresource: 'status' });
  }
  await makePolicy('keep-state', { podSelector: { matchLabels: { state: 'kept' } }, limits: { perSource: 1 } });
  await makePolicy('let-go', { priority: 1, podSelector: { matchLabels: { state: 'nice' } }, onFailure: 'Evict' });
  await makePolicy('cordons', { podSelector: { matchLabels: { state: 'kept' } }, triggers: { eviction: false, cordon: true } });
  await client.create(disruptionBudgets, {
    metadata: { namespace: shop, name: 'tight' },
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'tight' } } } as object,
  });
  await runPod(shop, 'web-1');
  await runPod(shop, 'web-2');
  await runPod(shop, 'tight', { labels: { state: 'nice', app: 'tight' } });
  await runPod(shop, 'host', { spec: { hostNetwork: true } });
  await runPod(shop, 'host-nice', { labels: { state: 'nice' }, spec: { hostNetwork: true } });
  await runPod(shop, 'plain', { labels: {} });
  await runPod(shop, 'log', { owner: { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'logs', uid: 'x', controller: true } });
  await runPod(shop, 'elsewhere', { nodeName: 'node-b' });
  await runPod(bank, 'vault');
});

afterAll(async () => {
  await server?.stop();
  await rm(directory, { recursive: true, force: true });
});

let before: Map<string, string | undefined>;
beforeEach(async () => {
  before = await versions();
});
afterEach(async () => {
  expect((await client.list(migrations)).items).toEqual([]);
  expect(await versions()).toEqual(before);
});

const verdicts = () =>
  [
    [shop, 'web-1', 'keep-state', 'Migrate'],
    [shop, 'tight', 'let-go', 'Migrate'],
    [shop, 'web-2', 'keep-state', 'Migrate'],
    [shop, 'host', 'keep-state', 'Block'],
    [shop, 'host-nice', 'let-go', 'Evict'],
    [bank, 'vault', '-', 'Uncovered'],
    [shop, 'plain', '-', 'Uncovered'],
    [shop, 'log', '-', 'Ignored'],
  ].map((row) => row.join(' '));

test('the command: a table for people, aligned and without colours in a pipe', async () => {
  const { code, out, err } = await podferry('node-a');
  expect({ code, err }).toEqual({
    code: 0,
    err: 'node node-a: 3 Migrate, 1 Block, 1 Evict, 2 Uncovered, 1 Ignored; nothing was done\n',
  });
  const lines = out.trimEnd().split('\n');
  expect(
    lines
      .slice(1)
      .map((line) => line.split(/ {2,}/).slice(0, 4).join(' '))
      .sort(),
  ).toEqual(verdicts().sort());
  const column = lines[0]?.indexOf('WHERE/WHY') ?? -1;
  expect(lines.map((line) => line.slice(column - 3, column))).toEqual(lines.map(() => '   '));
  expect(out).not.toContain('\u001b');
  expect(out).toMatch(/web-2 .*position 1, .*\(policy keep-state allows 1 migrations at once from node node-a\)/);
  expect(out).toMatch(/tight .*position 1, .*\(disruption budget shop-\w+\/tight allows no disruption now\)/);
}, 60_000);

test('the command: json and yaml are the Migrations that would be made, and the API server would take them', async () => {
  const json = await podferry('node-a', '-o', 'json');
  const list = JSON.parse(json.out) as { kind: string; items: KubeObject[] };
  expect(list.kind).toBe('MigrationList');
  expect(list.items.map(({ metadata }) => metadata.name.replace(/-\w+$/, '')).sort()).toEqual(['tight', 'web-1', 'web-2']);
  expect(parse((await podferry('node-a', '-o', 'yaml')).out)).toEqual(list);
  expect((await podferry('node-a', '-o', 'name')).out.trimEnd().split('\n')).toEqual(
    list.items.map(({ metadata }) => `migration.podferry.io/${metadata.name}`),
  );
  for (const item of list.items) {
    const taken = await client.create(migrations, item as never, { dryRun: true });
    expect(taken).toMatchObject({ metadata: { name: item.metadata.name, labels: { 'podferry.io/policy': expect.any(String) } } });
  }
}, 60_000);

test('the command: as the node is now', async () => {
  expect((await podferry('node-a', '--trigger', 'node', '-o', 'name')).out).toBe('');
  await client.patch(nodes, { name: 'node-a' }, { type: 'merge', body: { spec: { unschedulable: true } } });
  try {
    const { items } = JSON.parse((await podferry('node-a', '--trigger', 'node', '-o', 'json')).out) as { items: KubeObject[] };
    expect(items.map(({ metadata }) => metadata.labels?.['podferry.io/policy'])).toEqual(['cordons', 'cordons']);
    const stays = (await podferry('node-a', '--trigger', 'node')).out.split('\n').filter((line) => / Stay /.test(line));
    expect(stays).toEqual([expect.stringMatching(/ host .*hostNetwork/)]);
  } finally {
    await client.patch(nodes, { name: 'node-a' }, { type: 'merge', body: { spec: { unschedulable: null } } });
  }
}, 60_000);

test('the command: a policy alone, and one that is not in the cluster yet', async () => {
  const alone = await podferry('node-a', '--policy', 'let-go');
  expect(alone.out.trimEnd().split('\n')).toHaveLength(3);
  expect(alone.err).toContain('1 Migrate, 1 Evict');
  const file = join(directory, 'all.yaml');
  const spec = { priority: 100, destination: { nodeSelector: { zone: 'b' } } };
  await writeFile(file, JSON.stringify({ apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationPolicy', metadata: { name: 'all' }, spec }));
  const { items } = JSON.parse((await podferry('node-a', '--policy', file, '-o', 'json')).out) as { items: { spec: object }[] };
  expect(items).toHaveLength(4);
  expect(items[0]?.spec).toMatchObject({ destination: { nodeSelector: { zone: 'b' } } });
  expect((await client.list(migrationPolicies)).items.map(({ metadata }) => metadata.name)).not.toContain('all');
}, 60_000);

test('the command: what went wrong in one sentence, 1 for a failure and 2 for a wrong use', async () => {
  const cases: [string[], number, RegExp][] = [
    [['node-x'], 1, /^podferry preview: there is no node node-x in the cluster of https:\S+\n$/],
    [['node-a', '--policy', 'other'], 1, /^podferry preview: there is no MigrationPolicy other .*\(there are: .*keep-state.*\n$/],
    [['node-a', '--policy', './none.yaml'], 1, /^podferry preview: the policy file \.\/none\.yaml cannot be read: ENOENT.*\n$/],
    [['node-a', '--context', 'nowhere'], 1, /^podferry preview: .* has no context "nowhere"\n$/],
    [[], 2, /missing required argument 'node'/],
    [['node-a', '-o', 'wide'], 2, /'wide' is invalid/],
    [['node-a', '--trigger', 'luck'], 2, /'luck' is invalid/],
  ];
  for (const [args, code, said] of cases) {
    const ran = await podferry(...args);
    expect([args, ran.code, ran.out]).toEqual([args, code, '']);
    expect(ran.err).toMatch(said);
  }
}, 120_000);

test('the command needs no more than the role podferry-preview-command', async () => {
  await server.applyManifests([join(root, 'manifests/base/rbac/users.yaml')]);
  await bind('anna', 'podferry-preview-command');
  const kubeconfig = join(directory, 'anna');
  await writeFile(kubeconfig, (await server.configFor('anna')).exportConfig());
  expect((await podferry('node-a', '--kubeconfig', kubeconfig, '-o', 'name')).out.trimEnd().split('\n')).toHaveLength(3);
  const other = join(directory, 'bert');
  await writeFile(other, (await server.configFor('bert')).exportConfig());
  const refused = await podferry('node-a', '--kubeconfig', other);
  expect(refused.code).toBe(1);
  expect(refused.err).toMatch(/^podferry preview: GET .*403 Forbidden.*User "bert" cannot .*\n$/);
}, 60_000);

describe('MigrationPreview', () => {
  let controller: KubeClient;
  let caches: ReturnType<typeof openCaches>;
  let work: ReturnType<typeof previewWork>;
  const errors: unknown[] = [];

  beforeAll(async () => {
    await server.applyManifests([join(root, 'manifests/base/rbac/users.yaml')]);
    // Roles only: the ServiceAccounts' namespace is not there.
    for (const document of (await roles()).filter(({ kind }) => kind === 'ClusterRole')) await server.apply(document);
    await bind('controller', 'podferry-controller');
    controller = await server.clientFor('controller');
    caches = openCaches(controller, (error) => errors.push(error));
    for (const cache of Object.values(caches)) cache.start();
    await Promise.all(Object.values(caches).map((cache) => cache.waitForSync()));
    const log = pino({ level: 'warn' }, { write: (line: string) => void written.push(line) });
    work = previewWork(caches, controller, log);
    work.start();
  });

  afterAll(async () => {
    await work?.stop(0);
    for (const cache of Object.values(caches ?? {})) await cache.stop();
    expect(errors).toEqual([]);
    expect(written).toEqual([]);
  });

  const make = (name: string, spec: MigrationPreview['spec'], by = client) =>
    by.create(migrationPreviews, { apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationPreview', metadata: { name }, spec });
  const filled = (name: string) =>
    eventually(async () => {
      const preview = await client.get(migrationPreviews, { name });
      if (!preview.status?.observed) throw new Error(`MigrationPreview ${name} is not filled: ${written.join('')}`);
      return preview;
    });

  test('is filled with what the command shows, by the rights of the controller', async () => {
    await make('drain-a', { nodeName: 'node-a' });
    const { spec, status } = await filled('drain-a');
    expect(spec).toEqual({ nodeName: 'node-a', trigger: 'Eviction', ttlSecondsAfterFinished: 3600 });
    expect(status?.pods?.map(({ namespace, name, policy = '-', verdict }) => `${namespace} ${name} ${policy} ${verdict}`).sort()).toEqual(
      verdicts().sort(),
    );
    expect(status?.counts).toEqual({ Migrate: 3, Block: 1, Evict: 1, Uncovered: 2, Ignored: 1 });
    const { items } = JSON.parse((await podferry('node-a', '-o', 'json')).out) as { items: KubeObject[] };
    expect(status?.pods?.flatMap(({ migration }) => migration ?? [])).toEqual(items.map(({ metadata }) => metadata.name));
    expect(status?.conditions).toMatchObject([{ type: 'Ready', status: 'True', reason: 'Previewed', observedGeneration: 1 }]);
    expect(Math.abs(Date.now() - Date.parse(status?.observed ?? ''))).toBeLessThan(60_000);
  }, 60_000);

  test('is filled once: what happens later does not change it', async () => {
    await make('once', { nodeName: 'node-b', policy: 'keep-state' });
    const { status, metadata } = await filled('once');
    expect(status?.pods).toMatchObject([{ name: 'elsewhere', verdict: 'Migrate' }]);
    await client.patch(migrationPreviews, { name: 'once' }, { type: 'merge', body: { metadata: { labels: { touched: 'yes' } } } });
    await make('after', { nodeName: 'node-b' });
    await filled('after');
    const after = await client.get(migrationPreviews, { name: 'once' });
    expect(after.status).toEqual(status);
    expect(after.metadata.generation).toBe(metadata.generation);
  }, 60_000);

  test('goes when its time is over', async () => {
    await make('short', { nodeName: 'node-a', ttlSecondsAfterFinished: 1 });
    await filled('short');
    await eventually(async () => {
      if (await client.find(migrationPreviews, { name: 'short' })) throw new Error('MigrationPreview short is still there');
    });
    expect(await client.find(migrationPreviews, { name: 'drain-a' })).toBeDefined();
  }, 60_000);

  test('no such node or policy is said in Ready', async () => {
    await make('lost', { nodeName: 'node-x' });
    await make('lawless', { nodeName: 'node-a', policy: 'other' });
    expect((await filled('lost')).status?.conditions).toMatchObject([{ status: 'False', reason: 'NodeNotFound' }]);
    expect((await filled('lawless')).status?.conditions).toMatchObject([{ status: 'False', reason: 'PolicyNotFound' }]);
  }, 60_000);

  test('its spec is checked and stays', async () => {
    const refused = async (call: Promise<unknown>) => {
      const error = await call.then(
        () => new Error('it was taken'),
        (reason: unknown) => reason,
      );
      if (!(error instanceof KubeError)) throw error;
      return error.message;
    };
    expect(await refused(make('bad', { nodeName: '' }))).toContain('spec.nodeName');
    expect(await refused(make('bad', { nodeName: 'node-a', trigger: 'Luck' as 'Node' }))).toContain('spec.trigger');
    const change = { type: 'merge', body: { spec: { nodeName: 'node-b' } } } as const;
    expect(await refused(client.patch(migrationPreviews, { name: 'drain-a' }, change))).toContain('immutable');
  }, 60_000);

  test('who has the role podferry-preview may make and read it, others may not', async () => {
    await bind('carl', 'podferry-preview');
    const carl = await server.clientFor('carl');
    await eventually(() => make('of-carl', { nodeName: 'node-a' }, carl));
    await filled('of-carl');
    expect((await carl.get(migrationPreviews, { name: 'of-carl' })).status?.pods).toHaveLength(8);
    await expect(carl.list(pods)).rejects.toMatchObject({ isForbidden: true });
    await expect(make('of-dora', { nodeName: 'node-a' }, await server.clientFor('dora'))).rejects.toMatchObject({ isForbidden: true });
  }, 60_000);
});

async function roles(): Promise<KubeObject[]> {
  const text = await readFile(join(root, 'manifests/base/rbac/controller.yaml'), 'utf8');
  return parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
}

async function bind(user: string, role: string): Promise<void> {
  await server.apply({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: `${role}-${user}` },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
  } as KubeObject);
}
