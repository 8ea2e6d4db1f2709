import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import type { SourcePorts, WarmLayer } from '../../../src/agent/source-record.ts';
import type { SourceRequest } from '../../../src/api/agent.ts';
import { Cleanup, until } from '../image/fixtures.ts';
import { FakeRuntime, never, uid } from './fakes.ts';
import { sourceRequest, startSource } from './source-fixtures.ts';

/** Memory is sent ahead while the pod runs. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const gibibyte = 2 ** 30;
type Ahead = NonNullable<SourcePorts['ahead']>;

/** A pod of two containers with so much memory each, on a node that can send it ahead. */
async function start(memory: number, change: Partial<Ahead> = {}, free = 100 * gibibyte) {
  const directory = cleanup.directory();
  const runtime = new FakeRuntime().run('app', 'proxy');
  for (const name of ['app', 'proxy']) runtime.memory.set(name, memory);
  const layers: [string, WarmLayer[]][] = [];
  const ahead: Ahead = {
    async checkpoint(_uid, { name }) {
      runtime.calls.push(`dump ${name} ${runtime.paused.length ? 'frozen' : 'running'}`);
      const path = join(directory, `${name}.warm.${runtime.calls.length}`);
      mkdirSync(join(path, 'checkpoint'), { recursive: true });
      writeFileSync(join(path, 'checkpoint/pages-1.img'), 'memory');
      return { path, whole: Promise.resolve() };
    },
    async ship(_request, name, { path, layers: before }) {
      runtime.calls.push(`send ${name} ahead`);
      layers.push([name, before]);
      return { path, pages: { 'pages-1.img': { digest: 'sha256:1', size: 6 } }, bytes: memory, memory };
    },
    ...change,
  };
  const shipped: [string, number][] = [];
  const source = await startSource(cleanup, {
    runtime,
    ports: {
      ahead,
      freeBytes: () => free,
      async memoryAtHand(bytes) {
        runtime.calls.push(`memory for ${bytes}`);
        let held = true;
        return {
          async [Symbol.asyncDispose]() {
            if (held) runtime.calls.push('memory let go');
            held = false;
          },
        };
      },
      async ship(_request, name, archive) {
        runtime.calls.push(`ship ${name}`);
        shipped.push([name, archive.layers?.length ?? 0]);
        return { digest: `sha256:${name}`, bytes: 42, incremental: true };
      },
    },
  });
  return { source, calls: runtime.calls, layers, shipped };
}

const to = (change: Partial<SourceRequest> = {}): Partial<SourceRequest> => ({
  destination: { ...sourceRequest('Shipped').destination, contentDirectory: '/content', freeBytes: 100 * gibibyte },
  ...change,
});

test('much memory: before the freeze, and what follows is told of it', async () => {
  const { source, calls, layers, shipped } = await start(gibibyte);
  await source.set('Shipped', to());
  await source.reaches('Shipped');
  expect(calls.slice(0, 9).toSorted()).toEqual([
    'dump app running',
    'dump proxy running',
    'memory for 2147483648',
    'memory for 268435456',
    'memory let go',
    'pause app',
    'pause proxy',
    'send app ahead',
    'send proxy ahead',
  ]);
  expect(calls.indexOf('pause app')).toBeGreaterThan(calls.indexOf('send proxy ahead'));
  expect(layers).toEqual([
    ['app', []],
    ['proxy', []],
  ]);
  expect(shipped).toEqual([
    ['app', 1],
    ['proxy', 1],
  ]);
  expect(source.keeper.view(uid).containers.map(({ warmBytes }) => warmBytes)).toEqual([[gibibyte], [gibibyte]]);
});

test.each<[string, number, boolean]>([
  ['little memory is sent when CRIU has written it', 64 << 20, false],
  ['much memory while it does', gibibyte, true],
])('%s', async (_, memory, alongside) => {
  const { promise: whole, resolve: written } = Promise.withResolvers<void>();
  const path = join(cleanup.directory(), 'warm');
  mkdirSync(join(path, 'checkpoint'), { recursive: true });
  const { source, calls } = await start(memory, {
    async checkpoint() {
      calls.push('dump');
      return { path, whole };
    },
  });
  await source.set('Shipped', to());
  await until(() => calls.filter((call) => call === 'dump').length === 2);
  if (alongside) await until(() => calls.includes('send app ahead'));
  else {
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(calls).not.toContain('send app ahead');
  }
  written();
  await source.reaches('Shipped');
  expect(calls).toContain('send app ahead');
});

test('a limit that makes the first round long: a second one, which knows of the first', async () => {
  let time = performance.now();
  const clock = jest.spyOn(performance, 'now').mockImplementation(() => (time += 100_000));
  cleanup.add(clock, () => clock.mockRestore());
  const { source, layers, shipped } = await start(gibibyte);
  await source.set('Shipped', to({ bytesPerSecond: 10 << 20, warmRounds: 2 }));
  await source.reaches('Shipped');
  expect(layers.filter(([name]) => name === 'app').map(([, before]) => before.length)).toEqual([0, 1]);
  expect(shipped).toContainEqual(['app', 2]);
});

test.each<[string, Partial<SourceRequest>, string, string[]]>([
  ['the first dump', {}, 'dump app running', [`memory for ${gibibyte / 4}`, 'memory let go']],
  ['the freeze, when there is none', { warmRounds: 0 }, 'pause app', []],
])('memory is had ready for %s, and let go of before anything is written', async (_, change, next, more) => {
  const { source, calls } = await start(gibibyte);
  await source.set('Shipped', to(change));
  await source.reaches('Shipped');
  expect(calls.filter((call) => call.startsWith('memory'))).toEqual([`memory for ${2 * gibibyte}`, 'memory let go', ...more]);
  expect(calls.indexOf(next)).toBeGreaterThan(calls.indexOf(`memory for ${2 * gibibyte}`));
  expect(calls.indexOf('memory let go')).toBeLessThan(calls.indexOf(change.warmRounds === 0 ? 'ship app' : next));
  expect(calls.lastIndexOf('memory let go')).toBeLessThan(calls.indexOf('ship app'));
});

test('what is held for the next dump is let go of when sending fails while it is taken', async () => {
  const { source, calls } = await start(gibibyte, {
    ship: () => Promise.reject(new Error('the network is gone')),
  });
  await source.set('Shipped', to());
  await source.reaches('Shipped');
  await until(
    () => calls.filter((call) => call === 'memory let go').length === calls.filter((call) => call.startsWith('memory for')).length,
  );
  expect(calls.filter((call) => call.startsWith('memory for'))).toHaveLength(2);
});

test('while it is sent ahead that is told, and no longer', async () => {
  const { promise: sent, resolve } = Promise.withResolvers<void>();
  const { source } = await start(gibibyte, {
    async ship(_request, _name, { path }, flow) {
      flow.progress(gibibyte / 2);
      await sent;
      return { path, pages: {}, bytes: gibibyte, memory: gibibyte };
    },
  });
  await source.set('Shipped', to());
  await until(() => source.keeper.view(uid).aheadBytes === gibibyte);
  expect(source.keeper.view(uid)).toMatchObject({ state: 'Freezing', containers: [{ bytesSent: 0 }, { bytesSent: 0 }] });
  resolve();
  await source.reaches('Shipped');
  expect(source.keeper.view(uid)).not.toHaveProperty('aheadBytes');
});

const plenty = 100 * gibibyte;

test.each<[string, number, Partial<SourceRequest>, number]>([
  ['little memory', 1 << 20, to(), plenty],
  ['no time for it', gibibyte, to({ freezeMilliseconds: 5000 }), plenty],
  ['not wanted', gibibyte, to({ warmRounds: 0 }), plenty],
  ['a transfer by a registry', gibibyte, to({ transfer: 'Registry' }), plenty],
  ['a destination that takes no memory beside the archive', gibibyte, {}, plenty],
  ['no room for it twice', gibibyte, to(), 5 * gibibyte],
])('%s: the freeze comes at once', async (_, memory, change, free) => {
  const { source, calls, shipped } = await start(memory, {}, free);
  await source.set('Shipped', change);
  await source.reaches('Shipped');
  expect(calls.filter((call) => call.startsWith('dump'))).toEqual([]);
  expect(shipped).toContainEqual(['app', 0]);
});

test.each<[string, Partial<Ahead>]>([
  ['a dump', { checkpoint: () => Promise.reject(new Error('CRIU gave up')) }],
  ['the sending', { ship: () => Promise.reject(new Error('no route')) }],
])('%s that fails is not the end: the freeze comes without', async (_, change) => {
  const { source, shipped } = await start(gibibyte, change);
  await source.set('Shipped', to());
  await source.reaches('Shipped');
  expect(source.keeper.view(uid).error).toBeUndefined();
  expect(shipped).toEqual([
    ['app', 0],
    ['proxy', 0],
  ]);
});

test('given up meanwhile: nothing is paused', async () => {
  const { source, calls } = await start(gibibyte, { ship: (_request, _name, _memory, _flow, signal) => never(signal) });
  await source.set('Shipped', to());
  await until(() => calls.some((call) => call.startsWith('dump')));
  await source.set('Resumed');
  await source.resumed();
  expect(calls.filter((call) => call.startsWith('pause'))).toEqual([]);
});

test('another process takes up what was sent ahead', async () => {
  const { source, shipped } = await start(gibibyte);
  await source.set('Shipped', to());
  await source.reaches('Shipped');
  await source.endsFreezing();
  shipped.length = 0;
  await (await source.restart()).reaches('Shipped');
  expect(shipped).toContainEqual(['app', 1]);
});
