import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import type { SourcePorts } from '../../../src/agent/source.ts';
import type { TokenBucket } from '../../../src/util/pace.ts';
import { Cleanup, until } from '../image/fixtures.ts';
import { FakeRuntime, gate, never, otherUid, uid } from './fakes.ts';
import { atOnce, sourceRequest, startSource } from './source-fixtures.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

const patient = new AbortController().signal;
const volumes = ['cache'];

describe('on the way', () => {
  test.each([
    ['little', 1, 1],
    ['much', 1024, 0],
  ])(
    'with %s memory so many containers are dumped at the same time as there are cores, and with little one more',
    async (_, mebibytes, more) => {
      const most = Math.max(2, availableParallelism()) + more;
      const names = Array.from({ length: most + 2 }, (_, index) => `c${index}`);
      const runtime = new FakeRuntime().run(...names);
      for (const name of names) runtime.memory.set(name, mebibytes * 2 ** 20);
      let [active, seen] = [0, 0];
      const checkpoint = () => {
        seen = Math.max(seen, ++active);
        const archive = sleep(20).then(() => {
          active--;
          return '/dev/null';
        });
        return atOnce(archive);
      };
      const source = await startSource(cleanup, { runtime, ports: { checkpoint } });
      await source.set('Shipped', { containers: names.map((name) => ({ name, rootfsImageRef: '' })) });
      await source.reaches('Shipped');
      expect(seen).toBe(most);
    },
  );

  test('all containers freeze together, then all are checkpointed, each shipped as soon as that begins; volumes at once', async () => {
    const source = await startSource(cleanup);
    expect(await source.set('Shipped', { volumes })).toBe('Freezing');
    await source.reaches('Shipped');
    expect(source.calls).toEqual([
      'pause app',
      'pause proxy',
      'checkpoint shop/web/app',
      'checkpoint shop/web/proxy',
      'ship the volumes',
      'ship app',
      'ship proxy',
    ]);
    expect(source.runtime.paused).toEqual(['app', 'proxy']);
    const { frozenAt, leaseLeft, error, containers } = source.keeper.view(uid);
    expect(containers).toEqual([
      { name: 'app', archiveBytes: 13, bytesSent: 42, digest: 'sha256:app' },
      { name: 'proxy', archiveBytes: 15, bytesSent: 42, digest: 'sha256:proxy' },
    ]);
    expect(Math.abs(Date.parse(frozenAt ?? '') - Date.now())).toBeLessThan(5000);
    expect(leaseLeft).toBeGreaterThan(50_000);
    expect(error).toBeUndefined();
    expect(await source.written()).toMatchObject({ state: 'Shipped', archives: { app: { bytes: 13 } } });
  });

  test('asked again it does nothing twice', async () => {
    const source = await startSource(cleanup);
    for (let index = 0; index < 5; index++) await source.set('Shipped');
    await source.reaches('Shipped');
    await source.set('Shipped');
    expect(source.calls).toHaveLength(6);
  });

  test('what is paused is written down before the first pause', async () => {
    const source = await startSource(cleanup);
    const seen: unknown[] = [];
    source.runtime.instead.set('pause app', async () => {
      seen.push((await source.written())?.frozen.map(({ id }) => id));
    });
    await source.set('Shipped');
    await source.reaches('Shipped');
    expect(seen).toEqual([['id-of-app', 'id-of-proxy']]);
  });

  test('the view: nothing of what is not known; progress; waiting for the next change', async () => {
    const { passed, open } = gate();
    const source = await startSource(cleanup, {
      ports: {
        async ship(_request, container, _archive, { progress }) {
          progress(7);
          await passed;
          return { digest: `sha256:${container}`, bytes: 42 };
        },
      },
    });
    expect(source.keeper.view(otherUid)).toEqual({ revision: 0, state: 'Unknown', containers: [] });
    await source.set('Shipped');
    await source.reaches('Checkpointed');
    await until(() => source.keeper.view(uid).containers[0]?.bytesSent === 7);
    const { revision } = source.keeper.view(uid);
    const next = source.keeper.wait(uid, revision, 5000, patient);
    open();
    expect((await next).revision).toBeGreaterThan(revision);
    expect((await source.keeper.wait(uid, revision, 60_000, patient)).revision).toBeGreaterThan(revision);
    await source.reaches('Shipped');
    const last = source.keeper.view(uid);
    expect(await source.keeper.wait(uid, last.revision, 10, patient)).toMatchObject({ revision: last.revision, state: 'Shipped' });
    expect(await source.keeper.wait(uid, last.revision, 60_000, AbortSignal.abort())).toMatchObject({ state: 'Shipped' });
  });

  test("migrations do not get in each other's way", async () => {
    const source = await startSource(cleanup);
    await source.set('Shipped');
    await source.reaches('Shipped');
    expect(source.keeper.view(otherUid).state).toBe('Unknown');
    for (const goal of ['Held', 'Resumed', 'Returned'] as const) {
      expect(await source.keeper.set(otherUid, sourceRequest(goal))).toMatchObject({ state: 'Unknown' });
    }
    await source.keeper.forget(otherUid);
    expect(source.keeper.view(uid).state).toBe('Shipped');
  });
});

describe('bytes per second', () => {
  test('all parts share the limit; it changes on the way, shows in the view and outlives the process', async () => {
    const paces = new Set<TokenBucket>();
    const ship: SourcePorts['ship'] = (_request, _container, _archive, { pace }, signal) => {
      paces.add(pace);
      return never(signal);
    };
    const shipVolumes: SourcePorts['shipVolumes'] = (_uid, _request, _before, { pace }, signal) => {
      paces.add(pace);
      return never(signal);
    };
    const source = await startSource(cleanup, { ports: { ship, shipVolumes } });
    await source.set('Shipped', { bytesPerSecond: 1000, volumes });
    await source.reaches('Checkpointed');
    await until(() => paces.size > 0);
    expect([...paces].map(({ rate }) => rate)).toEqual([1000]);
    const { revision } = source.keeper.view(uid);
    await source.set('Shipped', { bytesPerSecond: 500, volumes });
    expect([...paces].map(({ rate }) => rate)).toEqual([500]);
    expect(source.keeper.view(uid).bytesPerSecond).toBe(500);
    await until(() => source.keeper.view(uid).revision > revision);
    const next = await source.restart();
    expect(next.keeper.view(uid).bytesPerSecond).toBe(500);
    await next.set('Shipped', { volumes });
    expect(next.keeper.view(uid).bytesPerSecond).toBeNull();
    expect((await next.written())?.request).toMatchObject({ pod: 'web', volumes });
    expect((await next.written())?.request).not.toHaveProperty('bytesPerSecond');
  });
});

describe('the lease', () => {
  test('runs out: the pod is resumed, with the reason, and its archives are worth nothing', async () => {
    const source = await startSource(cleanup);
    await source.set('Shipped', { leaseMilliseconds: 1500, volumes });
    await source.reaches('Shipped');
    await source.resumed();
    expect(source.archives()).toEqual([]);
    const view = source.keeper.view(uid);
    expect(view.error).toEqual({ step: 'lease', message: expect.stringContaining('the lease of the freeze ran out') });
    expect(view.leaseLeft).toBeUndefined();
    expect(source.calls).toContain('remove the volumes');
    // Asked to go on it does not: the processes have gone on.
    expect(await source.set('Shipped')).toBe('Running');
    expect(await source.set('Held')).toBe('Running');
  });

  test('runs out while archives are on their way: that is stopped first', async () => {
    const source = await startSource(cleanup, {
      ports: { ship: (_request, _container, _archive, _progress, signal) => never(signal) },
    });
    await source.set('Shipped', { leaseMilliseconds: 60 });
    await source.resumed();
    expect(source.keeper.view(uid).error?.step).toBe('lease');
  });

  test('a liveness probe may bound the freeze more tightly, and then no renewal helps', async () => {
    const source = await startSource(cleanup);
    await source.set('Shipped', { budgetMilliseconds: 1000 });
    await source.reaches('Shipped');
    await source.set('Shipped', { budgetMilliseconds: 1000 });
    await source.resumed();
    expect(source.keeper.view(uid).error).toEqual({
      step: 'lease',
      message: expect.stringMatching(/frozen for 1000 ms, and its liveness probe/),
    });
    const held = await startSource(cleanup);
    await held.set('Shipped', { budgetMilliseconds: 1000 });
    await held.reaches('Shipped');
    await held.set('Held');
    await new Promise((resolve) => setTimeout(resolve, 1050));
    expect(held.runtime.paused).toEqual(['app', 'proxy']);
  });

  test('is renewed by every request', async () => {
    const source = await startSource(cleanup);
    // A renewal counts when it is on the disk, and that may take its time.
    const end = Date.now() + 2200;
    while (Date.now() < end) {
      await source.set('Shipped', { leaseMilliseconds: 2000 });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(source.keeper.view(uid).state).toBe('Shipped');
  });
});

describe('held', () => {
  test('it never resumes by itself, and asks for no lease', async () => {
    const source = await startSource(cleanup);
    // Long enough for a slow disk.
    await source.set('Shipped', { leaseMilliseconds: 2000 });
    await source.reaches('Shipped');
    expect(await source.set('Held')).toBe('Held');
    expect((await source.written())?.state).toBe('Held');
    await new Promise((resolve) => setTimeout(resolve, 2050));
    expect(source.keeper.view(uid)).toMatchObject({ state: 'Held' });
    expect(source.keeper.view(uid).leaseLeft).toBeUndefined();
    expect(await source.set('Shipped', { leaseMilliseconds: 1 })).toBe('Held');
    expect(source.runtime.paused).toEqual(['app', 'proxy']);
    expect(source.archives()).toHaveLength(2);
  });

  test('not before all is shipped', async () => {
    const source = await startSource(cleanup, { ports: { ship: (_request, _container, _archive, _progress, signal) => never(signal) } });
    await source.set('Shipped');
    await source.reaches('Checkpointed');
    expect(await source.set('Held')).toBe('Checkpointed');
  });

  test('it is resumed when it is told to', async () => {
    const source = await startSource(cleanup);
    await source.set('Shipped');
    await source.reaches('Shipped');
    await source.set('Held');
    expect(await source.set('Resumed')).toBe('Running');
    expect(source.runtime.paused).toEqual([]);
    expect(source.archives()).toEqual([]);
    expect(source.keeper.view(uid).error).toBeUndefined();
    expect(await source.written()).toMatchObject({ state: 'Running', archives: {} });
  });

  test('it is seen when its processes end: only the archives hold the state then', async () => {
    jest.useFakeTimers({ doNotFake: ['Date', 'nextTick', 'setImmediate', 'setTimeout', 'queueMicrotask', 'performance', 'hrtime'] });
    const source = await startSource(cleanup);
    await source.set('Shipped');
    await source.reaches('Shipped');
    await source.set('Held');
    jest.advanceTimersByTime(2000);
    expect(source.keeper.view(uid).lost).toBeUndefined();
    source.runtime.containers.shift();
    jest.advanceTimersByTime(2000);
    await until(() => source.keeper.view(uid).lost !== undefined);
    expect(source.keeper.view(uid)).toMatchObject({
      state: 'Held',
      lost: expect.stringContaining('container app of the frozen pod ended'),
    });
    await until(async () => (await source.written())?.lost !== undefined);
    expect(source.archives()).toHaveLength(2);
  });

  describe('its archives are flushed a while after the hold', () => {
    async function held() {
      const source = await startSource(cleanup);
      await source.set('Shipped');
      await source.reaches('Shipped');
      jest.useFakeTimers({ doNotFake: ['Date', 'nextTick', 'setImmediate', 'setInterval', 'queueMicrotask', 'performance', 'hrtime'] });
      await source.set('Held');
      return source;
    }

    test('which is written down', async () => {
      const source = await held();
      jest.advanceTimersByTime(4999);
      await sleep(50);
      expect((await source.written())?.unflushedBoot).toBe('this boot');
      jest.advanceTimersByTime(1);
      jest.useRealTimers();
      await until(async () => (await source.written())?.unflushedBoot === undefined);
      expect(await source.written()).toMatchObject({ state: 'Held' });
    });

    test('a disk that fails then has lost them, for good', async () => {
      const source = await held();
      await Promise.all(source.archives().map((name) => rm(join(source.directory, name))));
      jest.advanceTimersByTime(5000);
      jest.useRealTimers();
      await until(async () => (await source.written())?.archivesLost !== undefined);
      await source.set('Returned');
      expect(source.keeper.view(uid)).toMatchObject({ state: 'Held', returnFailure: expect.stringContaining('the disk failed') });
      const after = await source.restart();
      expect(after.keeper.view(uid).returnFailure).toContain('the disk failed');
    });

    test('and nothing is written down of that when the migration is forgotten meanwhile', async () => {
      const source = await held();
      jest.advanceTimersByTime(5000);
      jest.useRealTimers();
      await source.keeper.forget(uid);
      await sleep(200);
      expect(await source.written()).toBeUndefined();
      expect(source.keeper.view(uid).state).toBe('Unknown');
    });

    test('unless the pod was resumed before', async () => {
      const source = await held();
      await source.set('Resumed');
      expect(jest.getTimerCount()).toBe(0);
      expect((await source.written())?.unflushedBoot).toBeUndefined();
    });
  });

  test('it ships its archives once more for a return, and stays held', async () => {
    const source = await startSource(cleanup);
    await source.set('Shipped', { volumes });
    await source.reaches('Shipped');
    expect(await source.set('Returned', { volumes })).toBe('Shipped');
    await source.set('Held');
    source.calls.length = 0;
    await source.set('Returned', { volumes });
    expect(source.keeper.view(uid)).toMatchObject({ state: 'Held', returning: true });
    await until(() => !source.keeper.view(uid).returning);
    expect(source.calls.sort()).toEqual(['ship app', 'ship proxy', 'ship the volumes']);
    expect(source.keeper.view(uid).state).toBe('Held');
    expect(source.archives()).toHaveLength(2);
  });
});

test('forgotten: archives, kept volumes and record go; the pod is left as it is', async () => {
  const source = await startSource(cleanup);
  await source.set('Shipped');
  await source.reaches('Shipped');
  await source.set('Held');
  await source.keeper.forget(uid);
  expect(source.keeper.view(uid).state).toBe('Unknown');
  expect(source.archives()).toEqual([]);
  expect(source.calls).toContain('remove the volumes');
  expect(await source.written()).toBeUndefined();
  expect(source.runtime.paused).toEqual(['app', 'proxy']);
  await source.keeper.forget(uid);
});
