import { rmSync } from 'node:fs';
import type { SourceState } from '../../../src/api/agent.ts';
import { Cleanup, until } from '../image/fixtures.ts';
import { never, uid } from './fakes.ts';
import { type Source, startSource } from './source-fixtures.ts';

/** The agent's process ends at some point and another one takes up what is written down. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A source whose process ended in this state, with the pod frozen as it would be; `lease` in milliseconds from then on. */
async function leftIn(state: SourceState, lease = 60_000): Promise<Source> {
  const source = await startSource(cleanup);
  const { ship } = source.ports;
  // The directory of archives stays, so that a checkpoint that was made need not be made again.
  if (state === 'Checkpointed') source.ports.ship = (_request, _container, _archive, _progress, signal) => never(signal);
  await source.set('Shipped', { leaseMilliseconds: 60_000 });
  await source.reaches(state === 'Checkpointed' ? 'Checkpointed' : 'Shipped');
  if (state === 'Held') await source.set('Held');
  if (state === 'Running') await source.set('Resumed');
  if (state === 'Resuming') await source.set('Held');
  await source.keeper.stop();
  const record = await source.written();
  if (!record) throw new Error('nothing was written');
  if (state === 'Frozen' || state === 'Freezing') Object.assign(record, { state, archives: {}, shipped: {} });
  if (state === 'Resuming') Object.assign(record, { state });
  await source.records.write(uid, { ...record, leaseExpires: Date.now() + lease });
  source.ports.ship = ship;
  source.calls.length = 0;
  return source;
}

test.each([
  ['Freezing', ['pause app', 'pause proxy', 'checkpoint shop/web/app', 'checkpoint shop/web/proxy', 'ship app', 'ship proxy']],
  ['Frozen', ['checkpoint shop/web/app', 'checkpoint shop/web/proxy', 'ship app', 'ship proxy']],
  ['Checkpointed', ['ship app', 'ship proxy']],
  ['Shipped', []],
] as const)('%s: it goes on from there while the lease holds', async (state, calls) => {
  const source = await leftIn(state);
  const { frozenAt } = (await source.written()) ?? {};
  const after = await source.restart();
  await after.reaches('Shipped');
  expect(after.calls).toEqual(calls);
  expect(after.keeper.view(uid)).toMatchObject({
    state: 'Shipped',
    frozenAt,
    containers: [{ digest: 'sha256:app' }, { digest: 'sha256:proxy' }],
  });
  expect(after.keeper.view(uid).leaseLeft).toBeGreaterThan(50_000);
  expect(await after.set('Held')).toBe('Held');
});

test.each(['Frozen', 'Checkpointed', 'Shipped'] as const)('%s: with the lease run out meanwhile it resumes', async (state) => {
  const source = await leftIn(state, -1);
  const after = await source.restart();
  await after.resumed();
  expect(after.keeper.view(uid).error?.step).toBe('lease');
});

test('Shipped: what is left of the lease counts from where it was', async () => {
  const after = await (await leftIn('Shipped', 150)).restart();
  expect(after.keeper.view(uid).state).toBe('Shipped');
  await after.resumed();
});

test('Held: it stays, however long ago the lease was', async () => {
  const after = await (await leftIn('Held', -1000)).restart();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(after.keeper.view(uid).state).toBe('Held');
  expect(after.runtime.paused).toEqual(['app', 'proxy']);
  expect(after.archives()).toHaveLength(2);
  expect(after.calls).toEqual([]);
});

test.each([
  ['the agent ended', 'this boot', {}],
  ['the node was started again', 'the next boot', { returnFailure: 'the node was started again before they were on its disk' }],
])('Held, archives not flushed yet, and %s', async (_what, boot, failure) => {
  const after = await (await leftIn('Held')).restart(boot);
  await after.set('Returned');
  await until(() => !after.keeper.view(uid).returning);
  const { returnFailure } = after.keeper.view(uid);
  expect({ state: after.keeper.view(uid).state, returnFailure }).toEqual({ state: 'Held', ...failure });
  expect(after.calls).toEqual(boot === 'this boot' ? ['ship app', 'ship proxy'] : []);
});

test('Held, archives flushed: they outlive the power of their node', async () => {
  const source = await leftIn('Held');
  const written = await source.written();
  expect(written?.unflushedBoot).toBe('this boot');
  const { unflushedBoot, ...flushed } = written as NonNullable<typeof written>;
  await source.records.write(uid, flushed);
  const after = await source.restart('the next boot');
  await after.set('Returned');
  await until(() => after.calls.length === 2 && !after.keeper.view(uid).returning);
  expect(after.keeper.view(uid).returnFailure).toBeUndefined();
});

test('Resuming: written down before the processes went on, so it is made sure that they do', async () => {
  const after = await (await leftIn('Resuming')).restart();
  await after.resumed();
  expect(after.calls).toEqual(expect.arrayContaining(['resume app', 'resume proxy']));
});

test('Running: nothing is left to do, whatever holds the containers by now', async () => {
  const source = await leftIn('Running');
  source.runtime.container('app').paused = true;
  const after = await source.restart();
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(after.keeper.view(uid).state).toBe('Running');
  expect(after.calls).toEqual([]);
});

const changes: [string, (source: Source) => void, RegExp][] = [
  ['ended', (source: Source) => void source.runtime.containers.shift(), /ended while it was frozen/],
  ['was resumed', (source: Source) => void Object.assign(source.runtime.container('app'), { paused: false }), /resumed by somebody else/],
];
test.each(changes)('a container that %s while no agent looked is found out', async (_what, change, message) => {
  for (const state of ['Frozen', 'Checkpointed'] as const) {
    const source = await leftIn(state);
    change(source);
    const after = await source.restart();
    await after.resumed();
    expect(after.keeper.view(uid).error).toEqual({ step: 'freeze', message: expect.stringMatching(message) });
  }
});

test('archives that are gone are found out before the hold', async () => {
  const source = await leftIn('Shipped');
  for (const { path } of Object.values((await source.written())?.archives ?? {})) rmSync(path);
  const after = await source.restart();
  expect(await after.set('Held')).toBe('Running');
  await after.resumed();
  expect(after.keeper.view(uid).error).toEqual({ step: 'lease', message: expect.stringContaining('ENOENT') });
});

test('a stop ends the work and leaves the pod frozen, for the next process', async () => {
  const source = await startSource(cleanup, { ports: { ship: (_request, _container, _archive, _progress, signal) => never(signal) } });
  await source.set('Shipped', { leaseMilliseconds: 500 });
  await source.reaches('Checkpointed');
  await source.keeper.stop();
  await new Promise((resolve) => setTimeout(resolve, 550));
  expect(source.runtime.paused).toEqual(['app', 'proxy']);
  expect((await source.written())?.state).toBe('Checkpointed');
});
