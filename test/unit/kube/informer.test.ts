import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { KubeClient } from '../../../src/kube/client.ts';
import { configOf } from '../../../src/kube/config.ts';
import { Informer, type InformerOptions } from '../../../src/kube/informer.ts';
import type { Resource } from '../../../src/kube/types.ts';
import { type Fault, FaultyServer, type Item } from './faulty-server.ts';

const things: Resource<Item> = { group: 'test.podferry.io', version: 'v1', plural: 'things', kind: 'Thing', namespaced: true };

let server: FaultyServer;
let client: KubeClient;
let informer: Informer<Item>;
let failures: string[];

beforeEach(async () => {
  server = new FaultyServer();
  client = new KubeClient(configOf({ server: await server.start() }));
  failures = [];
});

afterEach(async () => {
  await informer.stop();
  await client.close();
  await server.stop();
});

function start(options: InformerOptions<Item> = {}): Informer<Item> {
  informer = new Informer(client, things, {
    backoff: { base: 10, maximum: 40 },
    idleDeadline: 250,
    onError: (error) => failures.push(String(error)),
    ...options,
  });
  return informer.start();
}

async function until(check: () => void, milliseconds = 3000): Promise<void> {
  const end = performance.now() + milliseconds;
  for (;;) {
    try {
      check();
      return;
    } catch (error) {
      if (performance.now() > end) throw error;
      await sleep(5);
    }
  }
}

const values = () => Object.fromEntries(informer.list().map((item) => [item.metadata.name, item.value]));
const truth = () => Object.fromEntries(server.items().map((item) => [item.metadata.name, item.value]));
const inStep = () => until(() => expect(values()).toEqual(truth()));

describe('a failing list is tried again', () => {
  test.each<Fault>(['reset', 'unavailable', 'gone', 'garbage'])('%s', async (fault) => {
    server.set('a', 1);
    server.listFaults.push(fault, fault);
    start();
    await informer.waitForSync(AbortSignal.timeout(5000));
    expect(values()).toEqual({ a: 1 });
  });
});

describe('a failing watch loses nothing and makes nothing up', () => {
  test.each<Fault>(['reset', 'unavailable', 'gone', 'gone-inside', 'garbage', 'half-line', 'reset-later', 'end', 'silent', 'hang'])(
    '%s',
    async (fault) => {
      server.set('kept', 1);
      server.set('changed', 1);
      server.set('deleted', 1);
      server.watchFaults.push(fault, fault);
      const heard: string[] = [];
      start();
      informer.addHandlers({
        add: (item) => heard.push(`add ${item.metadata.name}`),
        update: (item) => heard.push(`update ${item.metadata.name}`),
        delete: (item) => heard.push(`delete ${item.metadata.name}`),
      });
      await informer.waitForSync(AbortSignal.timeout(5000));
      server.set('changed', 2);
      server.delete('deleted');
      server.set('new', 1);
      await inStep();
      // A new list tells of deletions first, so the order is not the one in which it happened.
      expect([...heard].sort()).toEqual(['add changed', 'add deleted', 'add kept', 'add new', 'delete deleted', 'update changed']);
      await until(() => expect(failures.length).toBeGreaterThan(0));
      // And it goes on from there.
      server.set('kept', 3);
      await inStep();
    },
  );
});

test('a watch is taken up where it stopped, from a bookmark too, without a new list', async () => {
  server.set('a', 1);
  start({ idleDeadline: 10_000 });
  await until(() => expect(server.openWatches).toBe(1));
  server.bookmark();
  await sleep(20);
  server.compact();
  server.cut();
  await until(() => expect(server.requests.filter((request) => request.startsWith('watch'))).toHaveLength(2));
  server.set('b', 2);
  await inStep();
  expect(server.requests).toEqual(['list', 'watch 2', 'watch 3']);
});

test('what happened before a version that is gone is found by a new list: replaced objects are deleted and added', async () => {
  server.set('replaced', 1);
  server.set('deleted', 1);
  start({ idleDeadline: 10_000 });
  const heard: string[] = [];
  informer.addHandlers({
    add: (item) => heard.push(`add ${item.metadata.name} ${item.value}`),
    update: (item) => heard.push(`update ${item.metadata.name}`),
    delete: (item) => heard.push(`delete ${item.metadata.name} ${item.value}`),
  });
  await until(() => expect(server.openWatches).toBe(1));
  server.watchFaults.push('gone');
  server.cut();
  server.delete('replaced');
  server.set('replaced', 2);
  server.delete('deleted');
  server.compact();
  await inStep();
  await until(() => expect(heard.slice(2)).toEqual(['delete deleted 1', 'delete replaced 1', 'add replaced 2']));
});

test('a silent watch is cut after the idle deadline; bookmarks keep it', async () => {
  start({ idleDeadline: 150 });
  await until(() => expect(server.openWatches).toBe(1));
  for (let beat = 0; beat < 6; beat++) {
    await sleep(60);
    server.bookmark();
  }
  expect(informer.stats).toMatchObject({ watches: 1, failures: 0 });
  expect(informer.lastEventAge()).toBeLessThan(100);
  await until(() => expect(failures[0]).toMatch(/silent for 0.15 s/));
  await until(() => expect(informer.stats.watches).toBeGreaterThan(1));
});

test('a server that ends every watch at once does not make us spin', async () => {
  server.watchFaults.push(...Array<Fault>(1000).fill('end'));
  start({ backoff: { base: 20, maximum: 100 } });
  await sleep(600);
  expect(informer.stats.watches).toBeLessThan(25);
});

test('handlers that throw or reject harm nobody', async () => {
  const heard: string[] = [];
  start();
  informer.addHandlers({
    add: () => {
      throw new Error('thrown');
    },
    update: async () => {
      throw new Error('rejected');
    },
  });
  informer.addHandlers({ add: (item) => heard.push(`add ${item.value}`), update: (item) => heard.push(`update ${item.value}`) });
  server.set('a', 1);
  await until(() => expect(heard).toHaveLength(1));
  server.set('a', 2);
  await until(() => expect(heard).toEqual(['add 1', 'update 2']));
  await until(() => expect(failures.filter((failure) => /thrown|rejected/.test(failure))).toHaveLength(2));
});

test('a throwing transform, index or error listener ends nothing', async () => {
  informer = new Informer(client, things, {
    backoff: { base: 10, maximum: 20 },
    indexers: {
      value: (item) => {
        if (item.value === 13) throw new Error('unlucky');
        return [String(item.value)];
      },
    },
    onError: () => {
      throw new Error('broken logger');
    },
  }).start();
  server.set('a', 13);
  server.set('b', 2);
  await inStep();
  expect(informer.byIndex('value', '2').map((item) => item.metadata.name)).toEqual(['b']);
  server.set('a', 2);
  await until(() => expect(informer.byIndex('value', '2')).toHaveLength(2));
  server.delete('b');
  await until(() => expect(informer.byIndex('value', '2')).toHaveLength(1));
  expect(() => informer.byIndex('none', '')).toThrow(/no index "none"; there are: value, namespace/);
});

test('the copy holds what transform leaves', async () => {
  server.set('a', 1);
  start({ transform: (item) => ({ ...item, value: -item.value }) });
  await informer.waitForSync();
  expect(informer.get('a', 'test')?.value).toBe(-1);
  expect(informer.list('test')).toHaveLength(1);
  expect(informer.list('other')).toEqual([]);
});

test('late handlers hear of what is there; those taken off hear nothing', async () => {
  server.set('a', 1);
  start();
  await informer.waitForSync();
  const heard: string[] = [];
  const off = informer.addHandlers({ add: (item) => heard.push(item.metadata.name) });
  expect(heard).toEqual(['a']);
  off();
  server.set('b', 1);
  await inStep();
  expect(heard).toEqual(['a']);
});

test('a stop during a list, a watch or a wait is quick, and nothing is heard afterwards', async () => {
  for (const fault of ['hang', 'unavailable'] as const) {
    server.listFaults.push(fault);
    start({ backoff: { base: 60_000, maximum: 60_000 } });
    await sleep(50);
    const begun = performance.now();
    await informer.stop();
    expect(performance.now() - begun).toBeLessThan(200);
    expect(informer.hasSynced).toBe(false);
    await expect(informer.waitForSync(AbortSignal.timeout(10))).rejects.toThrow();
  }
  start();
  await until(() => expect(server.openWatches).toBe(1));
  await informer.stop();
  await until(() => expect(server.openWatches).toBe(0));
  server.set('late', 1);
  await sleep(30);
  expect(informer.list()).toEqual([]);
});

test('relists now and then when asked to', async () => {
  start({ relistEvery: 1000 });
  // The watch is asked to end with the relist, but this server does not end it: the idle deadline does.
  await until(() => expect(informer.stats.lists).toBeGreaterThan(1), 4000);
});

test('under random faults and changes the copy ends up right', async () => {
  const faults: Fault[] = ['reset', 'unavailable', 'gone', 'gone-inside', 'garbage', 'half-line', 'reset-later', 'end'];
  const random = (below: number) => Math.floor(Math.random() * below);
  const known = new Map<string, number>();
  const wrong: string[] = [];
  start();
  informer.addHandlers({
    add: (item) => {
      if (known.has(item.metadata.uid)) wrong.push(`added twice: ${item.metadata.uid}`);
      known.set(item.metadata.uid, item.value);
    },
    update: (item) => {
      if (!known.has(item.metadata.uid)) wrong.push(`updated before added: ${item.metadata.uid}`);
      known.set(item.metadata.uid, item.value);
    },
    delete: (item) => {
      if (!known.delete(item.metadata.uid)) wrong.push(`deleted but unknown: ${item.metadata.uid}`);
    },
  });
  for (let change = 0; change < 300; change++) {
    const name = `thing-${random(8)}`;
    if (random(3) === 0) server.delete(name);
    else server.set(name, change);
    if (random(12) === 0) {
      server.watchFaults.push(faults[random(faults.length)] as Fault);
      server.cut();
    }
    if (random(40) === 0) server.compact();
    if (random(3) === 0) await sleep(random(8));
  }
  await inStep();
  await until(() =>
    expect(Object.fromEntries(known)).toEqual(Object.fromEntries(server.items().map((item) => [item.metadata.uid, item.value]))),
  );
  expect(wrong).toEqual([]);
}, 20_000);
