import type { SourceRequest } from '../../../src/api/agent.ts';
import { Cleanup, until } from '../image/fixtures.ts';
import { FakeRuntime, uid } from './fakes.ts';
import { type Source, sourceRequest, startSource } from './source-fixtures.ts';

/** Whether a checkpoint will fit on the disks is looked at while the pod runs. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const gibibyte = 2 ** 30;
const plenty = 100 * gibibyte;

/** A pod with 1 GiB in one container and 2 in the other, and another pod's container with more. */
function runtime(): FakeRuntime {
  const runtime = new FakeRuntime().run('app', 'proxy', 'not-ours');
  for (const [name, memory] of [
    ['app', 1],
    ['proxy', 2],
    ['not-ours', 1000],
  ] as const)
    runtime.memory.set(name, memory * gibibyte);
  return runtime;
}

const to = (change: Partial<SourceRequest['destination']> = {}): Partial<SourceRequest> => ({
  nodeName: 'node-a',
  destination: { ...sourceRequest('Shipped').destination, nodeName: 'node-b', contentDirectory: '/content', freeBytes: plenty, ...change },
});

async function refusal(source: Source) {
  await source.resumed();
  expect(source.calls.filter((call) => /^(pause|resume|checkpoint|ship)/.test(call))).toEqual([]);
  const { error, state, frozenAt } = source.keeper.view(uid);
  expect({ state, frozenAt }).toEqual({ state: 'Running', frozenAt: undefined });
  expect(error?.step).toBe('room');
  return error?.message;
}

test('enough on both nodes', async () => {
  const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => 4 * gibibyte } });
  await source.set('Shipped', to({ freeBytes: 4 * gibibyte }));
  await source.reaches('Shipped');
});

test('too little on its own node: nothing is paused, nothing resumed', async () => {
  const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => 3 * gibibyte } });
  await source.set('Shipped', to());
  expect(await refusal(source)).toMatch(
    /^pod shop\/web was not frozen and runs on, since its checkpoint does not fit on node node-a: about 3\.1 GiB are needed .* only 3\.0 GiB/,
  );
});

test('too little on the destination', async () => {
  const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => plenty } });
  await source.set('Shipped', to({ freeBytes: 3 * gibibyte }));
  expect(await refusal(source)).toMatch(/does not fit on node node-b: about 3\.1 GiB are needed/);
});

test.each<[string, 'runtime' | 'kubelet', Partial<SourceRequest>]>([
  ["the kubelet's way", 'kubelet', to({ freeBytes: 9 * gibibyte })],
  [
    'a destination that does not restore beside',
    'runtime',
    { nodeName: 'node-a', destination: { address: '', repository: '', nodeName: 'node-b', freeBytes: 9 * gibibyte } },
  ],
])('%s: the destination has the memory three times', async (_what, way, change) => {
  const source = await startSource(cleanup, { runtime: runtime(), ports: { way, freeBytes: () => plenty } });
  await source.set('Shipped', change);
  expect(await refusal(source)).toMatch(/does not fit on node node-b: about 9\.3 GiB are needed/);
});

test('by a registry it lies there once, as sent directly', async () => {
  const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => plenty } });
  await source.set('Shipped', { ...to({ freeBytes: 3 * gibibyte }), transfer: 'Registry' });
  expect(await refusal(source)).toMatch(/does not fit on node node-b: about 3\.1 GiB are needed/);
});

test("the kubelet's way writes it three times on the source", async () => {
  const source = await startSource(cleanup, { runtime: runtime(), ports: { way: 'kubelet', freeBytes: () => 9 * gibibyte } });
  await source.set('Shipped', to());
  expect(await refusal(source)).toMatch(/does not fit on node node-a: about 9\.3 GiB are needed/);
});

describe('what is not known is not checked', () => {
  test('the disks: an agent or a record from before', async () => {
    const source = await startSource(cleanup, { runtime: runtime() });
    await source.set('Shipped');
    await source.reaches('Shipped');
  });

  test('the memory', async () => {
    const source = await startSource(cleanup, { ports: { freeBytes: () => 0 } });
    source.runtime.instead.set('memory of app', () => Promise.reject(new Error('the shim does not answer')));
    await source.set('Shipped', to({ freeBytes: 0 }));
    await source.reaches('Shipped');
  });

  test('the memory of one container: the rest counts', async () => {
    const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => gibibyte } });
    source.runtime.memory.delete('app');
    await source.set('Shipped', to());
    expect(await refusal(source)).toMatch(/about 2\.1 GiB are needed/);
  });
});

test('without names it is said all the same which node', async () => {
  const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => plenty } });
  await source.set('Shipped', { destination: { ...sourceRequest('Shipped').destination, freeBytes: 0 } });
  expect(await refusal(source)).toMatch(/does not fit on the destination:/);
});

describe('once frozen, nothing keeps a pod from going on or coming back', () => {
  test('a restart in the midst of the freeze', async () => {
    const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => plenty } });
    await source.set('Shipped', to());
    await source.reaches('Shipped');
    await source.endsFreezing();
    source.ports.freeBytes = () => 0;
    const after = await source.restart();
    await after.reaches('Shipped');
  });

  test('held, and returned', async () => {
    const source = await startSource(cleanup, { runtime: runtime(), ports: { freeBytes: () => plenty } });
    await source.set('Shipped', to());
    await source.reaches('Shipped');
    source.ports.freeBytes = () => 0;
    expect(await source.set('Held')).toBe('Held');
    await source.set('Returned', to({ freeBytes: 0 }));
    await until(() => source.keeper.view(uid).returning === undefined);
    expect(source.keeper.view(uid)).toMatchObject({ state: 'Held' });
    expect(source.keeper.view(uid).returnFailure).toBeUndefined();
    expect(source.calls.filter((call) => call === 'ship app')).toHaveLength(2);
  });
});
