import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, counted, counterContainer, counterSpec, expectSameMemory, onNode } from './support/counter.ts';
import { checkpointsInRegistry } from './support/images.ts';
import { kubectl, lab } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';

const space = useNamespace('test-ways');

async function counterOn(node: string, name: string, options = {}, fields = {}) {
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: await counterSpec(node, options, fields) });
  const pod = await space.ready(name);
  return { pod, before: await counted(pod), began: performance.now() };
}
const since = (began: number) => (performance.now() - began) / 1000;

describe('a Migration object', () => {
  it('moves the pod to the node it names', async () => {
    const { before, began } = await counterOn('node-a', 'by-object');
    const migration = await space.migrate('by-object', { pod: 'by-object', destination: { nodeName: 'node-b' } });
    await space.succeeded(migration);
    const target = await space.ready('by-object');
    expect(target.spec.nodeName).toBe('node-b');
    expectSameMemory(before, await ask(target), since(began));
  });

  it('moves the pod to a node that has the labels it names', async () => {
    await kubectl('label', 'node', 'node-b', 'podferry.io/test-zone=b', '--overwrite');
    try {
      const { before, began } = await counterOn('node-a', 'by-labels');
      await space.succeeded(
        await space.migrate('by-labels', { pod: 'by-labels', destination: { nodeSelector: { 'podferry.io/test-zone': 'b' } } }),
      );
      const target = await space.ready('by-labels');
      expect(target.spec.nodeName).toBe('node-b');
      // The label says where to move, not where to live from then on.
      expect(target.spec.nodeSelector).toBeUndefined();
      expectSameMemory(before, await ask(target), since(began));
    } finally {
      await kubectl('label', 'node', 'node-b', 'podferry.io/test-zone-');
    }
  });

  it('goes by way of the registry when asked to, and leaves nothing there', async () => {
    const { before, began } = await counterOn(
      'node-a',
      'by-registry',
      {
        env: { MB: '4', JOURNAL: '/notes/journal' },
        volumeMounts: [{ name: 'notes', mountPath: '/notes' }],
      },
      { volumes: [{ name: 'notes', emptyDir: {} }] },
    );
    await space.succeeded(
      await space.migrate('by-registry', { pod: 'by-registry', destination: { nodeName: 'node-b' }, transfer: 'Registry' }),
    );
    expectSameMemory(before, await ask(await space.ready('by-registry')), since(began));
    expect(await checkpointsInRegistry()).toEqual([]);
  });

  it('cannot be changed, and is deleted when its time is over', async () => {
    await counterOn('node-a', 'short');
    const migration = await space.migrate('short', { pod: 'short', destination: { nodeName: 'node-b' }, ttlSecondsAfterFinished: 1 });
    await expect(kubectl('-n', space.name, 'patch', 'mig', 'short', '--type=merge', '-p', '{"spec":{"pod":"other"}}')).rejects.toThrow(
      /the spec of a Migration is immutable/,
    );
    await space.succeeded(migration);
    await sleep(2500);
    expect((await space.migrations()).map(({ metadata }) => metadata.name)).not.toContain('short');
  });

  it('is refused by the API server when it contradicts itself', async () => {
    await expect(space.migrate('both', { pod: 'x', destination: { nodeName: 'node-b', nodeSelector: { a: 'b' } } })).rejects.toThrow(
      /give nodeName or nodeSelector, not both/,
    );
  });
});

describe('a new pod with migrate-from and destination', () => {
  const heir = async (name: string, from: string, containers?: object[]) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, annotations: { 'podferry.io/migrate-from': from, 'podferry.io/destination': 'node-b' } },
    spec: { terminationGracePeriodSeconds: 1, containers: containers ?? [await counterContainer()] },
  });

  /** As people do: create, and again when the answer is to come back later. */
  async function createPatiently(object: Parameters<typeof space.create>[0]): Promise<number> {
    for (let tries = 1; ; tries++) {
      try {
        await space.create(object);
        return tries;
      } catch (error) {
        if (!(error instanceof Error && 'isTooManyRequests' in error && error.isTooManyRequests) || tries > 20) throw error;
        await sleep(1000);
      }
    }
  }

  it('continues the pod it names, on the node it names', async () => {
    const { pod, before, began } = await counterOn('node-a', 'ancestor');
    await createPatiently(await heir('heir', 'ancestor/counter'));
    const target = await space.ready('heir');
    expect(target.spec.nodeName).toBe('node-b');
    expectSameMemory(before, await ask(target), since(began));
    const migration = (await space.migrations()).find(({ spec }) => spec.pod === 'ancestor');
    await space.succeeded(migration as NonNullable<typeof migration>);
    expect(migration?.status?.source?.uid).toBe(pod.metadata.uid);
    expect(await space.findPod('ancestor')).toBeUndefined();
  });

  it('is refused with the reason when what it asks for cannot be', async () => {
    await counterOn('node-a', 'rooted');
    const refused = async (from: string, why: RegExp) => expect(space.create(await heir('nobody', from))).rejects.toThrow(why);
    await refused('missing', /there is no pod missing/);
    await refused('rooted/other', /has no container other; it has counter/);
    await refused('a/b/c', /neither POD nor POD\/CONTAINER/);
    const nowhere = await heir('nobody', 'rooted');
    await expect(
      space.create({ ...nowhere, metadata: { ...nowhere.metadata, annotations: { 'podferry.io/migrate-from': 'rooted' } } }),
    ).rejects.toThrow(/needs podferry.io\/destination/);
    // Nothing was touched.
    expect(await space.migrations()).not.toContainEqual(expect.objectContaining({ spec: expect.objectContaining({ pod: 'rooted' }) }));
  });

  it('is only looked at in a dry run', async () => {
    const { pod, before } = await counterOn('node-a', 'untouched');
    const manifest = JSON.stringify({
      ...(await heir('dry', 'untouched')),
      metadata: { ...(await heir('dry', 'untouched')).metadata, namespace: space.name },
    });
    const file = `${(await lab()).stateDirectory}/dry-run.json`;
    await writeFile(file, manifest);
    const output = await kubectl('apply', '--dry-run=server', '-f', file);
    expect(output).toContain('pod/dry created (server dry run)');
    expect(await space.migrations()).not.toContainEqual(expect.objectContaining({ spec: expect.objectContaining({ pod: 'untouched' }) }));
    expect((await ask(pod)).birth).toBe(before.birth);
  });
});

it('says which node was chosen and why it waits, for those who read conditions', async () => {
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'big' },
    spec: { ...(await counterSpec('node-a')), affinity: onNode('node-a') },
  });
  await counted(await space.ready('big'));
  const migration = await space.migrate('nowhere', {
    pod: 'big',
    destination: { nodeSelector: { 'example.org/none': 'such' } },
    timeouts: { prepareSeconds: 3 },
  });
  const end = await space.finished(migration);
  expect(end.status?.phase).toBe('Failed');
  expect(readyMessage(end)).toMatch(/no node can take the pod: .*didn't match Pod's node affinity/);
  expect((await space.ready('big')).spec.nodeName).toBe('node-a');
});
