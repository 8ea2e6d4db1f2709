import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import type { Migration } from '../../src/api/migration.ts';
import { ask, type Counted, counted, counterContainer, counterSpec } from './support/counter.ts';
import { uncordon } from './support/drain.ts';
import { digestOf, imageOf } from './support/images.ts';
import { handle, kubectl, lab, service } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-failures');

/** A migration that must fail and leave the very source running, saying so where people look. */
async function failsAndLeavesTheSource(
  pod: string,
  before: Counted,
  migration: Migration,
  reason: string,
  words: RegExp,
): Promise<Migration> {
  const end = await space.finished(migration, 90_000);
  expect(end.status).toMatchObject({ phase: 'Failed', failure: { reason } });
  expect(readyMessage(end)).toMatch(words);
  expect(end.status?.conditions).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ type: 'Ready', status: 'False', reason }),
      expect.objectContaining({ type: 'Stalled', status: 'True', reason }),
    ]),
  );
  await until('the event is there', async () =>
    (await space.events('Migration', end.metadata.name)).find((event) => event.startsWith(`${reason} `)),
  );
  const source = await space.ready(pod);
  const now = await until('the source counts on', async () => {
    const answer = await ask(source);
    return answer.count > before.count ? answer : undefined;
  });
  expect(now.birth).toBe(before.birth);
  expect(source.status?.containerStatuses?.[0]?.restartCount).toBe(0);
  // Nothing else is left: no placeholder, no second pod.
  await until('the placeholder is gone', async () =>
    (await space.pods(`podferry.io/migration=${end.metadata.name}`)).length === 0 ? true : undefined,
  );
  return end;
}

async function counterOn(node: string, name: string, options = {}) {
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { app: name } }, spec: await counterSpec(node, options) });
  return counted(await space.ready(name));
}

it('CRIU refuses: the source is resumed, and the condition names cause and cure', async () => {
  const container = await counterContainer();
  // What Go does by itself from 1.24 on.
  const env = container.env.filter(({ name }) => name !== 'GODEBUG');
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'mptcp' },
    spec: { ...(await counterSpec('node-a')), containers: [{ ...container, env }] },
  });
  const before = await counted(await space.ready('mptcp'));
  const migration = await space.annotate('mptcp', 'node-b');
  const end = await failsAndLeavesTheSource(
    'mptcp',
    before,
    migration,
    'CheckpointFailed',
    /Multipath TCP.*GODEBUG=multipathtcp=0.*runs on on node node-a/,
  );
  expect(end.status?.steps?.frozen).toBeDefined();
  expect(await space.events('Pod', 'mptcp')).toContainEqual(expect.stringMatching(/^MigrationFailed /));
  // The request is taken off, so that it can be made again.
  await until('the annotation is gone', async () =>
    (await space.pod('mptcp')).metadata.annotations?.['podferry.io/migrate-to'] ? undefined : true,
  );
});

it('the push fails: the source is resumed', async () => {
  const before = await counterOn('node-a', 'unpushed');
  // The destination has the base image, so that only the push needs the registry.
  await counterOn('node-b', 'puller');
  await service('control', 'stop', 'registry');
  try {
    const migration = await space.migrate('unpushed', { pod: 'unpushed', destination: { nodeName: 'node-b' }, transfer: 'Registry' });
    await failsAndLeavesTheSource('unpushed', before, migration, 'ShippingFailed', /registry .*ECONNREFUSED.*runs on on node node-a/);
  } finally {
    await service('control', 'start', 'registry');
  }
});

it('the destination does not exist', async () => {
  const before = await counterOn('node-a', 'lost');
  const migration = await space.annotate('lost', 'node-z');
  await failsAndLeavesTheSource('lost', before, migration, 'DestinationNotFound', /there is no node node-z/);
});

describe('the destination', () => {
  it('is cordoned', async () => {
    const before = await counterOn('node-a', 'cordoned');
    await kubectl('cordon', 'node-b');
    try {
      await failsAndLeavesTheSource(
        'cordoned',
        before,
        await space.annotate('cordoned', 'node-b'),
        'DestinationCannotTakePod',
        /node node-b is cordoned/,
      );
    } finally {
      await uncordon('node-b');
    }
  });

  it('is not Ready', async () => {
    const before = await counterOn('node-a', 'unready');
    // A node whose kubelet never was.
    await kubectl(
      'create',
      '-f',
      await file('{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-ghost","labels":{"podferry.io/test":"true"}}}'),
    );
    try {
      await failsAndLeavesTheSource(
        'unready',
        before,
        await space.annotate('unready', 'node-ghost'),
        'DestinationNotReady',
        /node node-ghost is not Ready/,
      );
    } finally {
      await kubectl('delete', 'node', 'node-ghost');
    }
  });

  it('has a taint that the pod does not tolerate', async () => {
    const before = await counterOn('node-a', 'tainted');
    await kubectl('taint', 'node', 'node-b', 'podferry.io/test=full:NoSchedule');
    try {
      await failsAndLeavesTheSource(
        'tainted',
        before,
        await space.annotate('tainted', 'node-b'),
        'DestinationCannotTakePod',
        /node node-b cannot take the pod: .*taint/,
      );
    } finally {
      await kubectl('taint', 'node', 'node-b', 'podferry.io/test-');
    }
  });

  it('has no room', async () => {
    const before = await counterOn('node-a', 'large', { resources: { requests: { memory: '1Gi' } } });
    // Takes what is left of node-b.
    const hog = { name: 'hog', labels: { app: 'hog' } };
    const allocatable = Number.parseInt(await kubectl('get', 'node', 'node-b', '-o', 'jsonpath={.status.allocatable.memory}'), 10);
    const used = JSON.parse(await kubectl('get', 'pods', '-A', '--field-selector', 'spec.nodeName=node-b', '-o', 'json')) as {
      items: { spec: { containers: { resources?: { requests?: { memory?: string } } }[] } }[];
    };
    const requested = used.items
      .flatMap(({ spec }) => spec.containers)
      .reduce((sum, { resources }) => sum + toKi(resources?.requests?.memory), 0);
    const spec = await counterSpec('node-b', { resources: { requests: { memory: `${allocatable - requested - 200 * 1024}Ki` } } });
    await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: hog, spec });
    await space.ready('hog');
    await failsAndLeavesTheSource(
      'large',
      before,
      await space.annotate('large', 'node-b'),
      'DestinationCannotTakePod',
      /node node-b cannot take the pod: .*Insufficient memory/,
    );
    await kubectl('-n', space.name, 'delete', 'pod', 'hog');
  });
});

it('the base image is missing from its registry', async () => {
  const { stateDirectory, binaries } = await lab();
  // An image of its own, which node-b never pulled.
  const directory = `${stateDirectory}/image-unique`;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory);
  await cp(`${binaries}/counter`, `${directory}/counter`);
  await writeFile(`${directory}/unique`, String(Date.now()));
  const image = (await handle('image', `test/unique:${Date.now()}`, directory, '/counter')).trim().split('\n').at(-1) ?? '';
  await rm(directory, { recursive: true });
  const before = await counterOn('node-a', 'baseless', { image });
  const digest = await digestOf(image);
  await rm(`${stateDirectory}/registry/docker/registry/v2/repositories/test/unique`, { recursive: true });
  await service('control', 'restart', 'registry');
  const migration = await space.annotate('baseless', 'node-b');
  const end = await failsAndLeavesTheSource(
    'baseless',
    before,
    migration,
    'BaseImageUnavailable',
    /node node-b cannot pull a base image: .*not found/,
  );
  expect(end.status?.containers?.[0]?.baseImage).toContain(digest);
  expect(await imageOf('counter')).not.toBe(image);
});

function toKi(quantity: string | undefined): number {
  const [, number = '0', unit = ''] = /^(\d+)(Ki|Mi|Gi)?$/.exec(quantity ?? '0') ?? [];
  return Number(number) * ({ Ki: 1, Mi: 1024, Gi: 1024 * 1024 }[unit] ?? 1 / 1024);
}

async function file(content: string): Promise<string> {
  const path = `${(await lab()).stateDirectory}/manifest.json`;
  await writeFile(path, content);
  return path;
}
