import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Informer, type InformerOptions, withoutManagedFields } from '../../src/kube/informer.ts';
import { type ConfigMap, configMaps } from '../../src/kube/resources.ts';
import { type ApiServer, eventually, startApiServer } from './harness.ts';

let server: ApiServer;

beforeAll(async () => {
  server = await startApiServer();
});

afterAll(async () => {
  await server?.stop();
});

let running: Informer<ConfigMap>[] = [];

afterEach(async () => {
  server?.resume();
  await Promise.all(running.map((informer) => informer.stop()));
  running = [];
});

async function informerOf(options: InformerOptions<ConfigMap>): Promise<Informer<ConfigMap>> {
  const informer = new Informer(await server.clientFor('informer', ['system:masters']), configMaps, options);
  running.push(informer);
  return informer;
}

/** The state that handlers saw, and what cannot be: an update of what is not there, an add of what is. */
function ledger() {
  const known = new Map<string, string | undefined>();
  const wrong: string[] = [];
  return {
    known,
    wrong,
    add(object: ConfigMap) {
      if (known.has(object.metadata.name)) wrong.push(`add of known ${object.metadata.name}`);
      known.set(object.metadata.name, object.metadata.resourceVersion);
    },
    update(object: ConfigMap, before: ConfigMap) {
      if (known.get(object.metadata.name) !== before.metadata.resourceVersion)
        wrong.push(`update of ${object.metadata.name} from an unknown state`);
      if (object.metadata.uid !== before.metadata.uid) wrong.push(`update of ${object.metadata.name} to another object`);
      known.set(object.metadata.name, object.metadata.resourceVersion);
    },
    delete(last: ConfigMap) {
      if (!known.delete(last.metadata.name)) wrong.push(`delete of unknown ${last.metadata.name}`);
    },
  };
}

test('200 random changes with the API server killed four times: nothing is lost, nothing is made up', async () => {
  const namespace = await server.createNamespace('informer');
  const informer = await informerOf({
    namespace,
    labelSelector: 'watched',
    pageSize: 3,
    backoff: { base: 50, maximum: 500 },
    indexers: { shade: (object) => [object.data?.shade ?? ''] },
  });
  const seen = ledger();
  informer.addHandlers(seen);
  informer.start();
  await informer.waitForSync(AbortSignal.timeout(10_000));

  const writer = server.client;
  const exists = new Set<string>();
  for (let change = 0; change < 200; change++) {
    const name = `object-${randomInt(20)}`;
    const shade = String(randomInt(4));
    const ref = { name, namespace };
    if (!exists.has(name)) {
      await writer.create(configMaps, { metadata: { ...ref, labels: { watched: '' } }, data: { shade } });
      exists.add(name);
    } else if (randomInt(3) === 0) {
      await writer.delete(configMaps, ref);
      exists.delete(name);
      // Sometimes a new object of that name at once: the watch may miss the moment between.
      if (randomInt(2) === 0) {
        await writer.create(configMaps, { metadata: { ...ref, labels: { watched: '' } }, data: { shade } });
        exists.add(name);
      }
    } else {
      await writer.patch(configMaps, ref, { type: 'merge', body: { data: { shade, change: String(change) } } });
    }
    if (change % 50 === 25) await server.restart();
  }

  const { items } = await writer.list(configMaps, { namespace, labelSelector: 'watched' });
  const truth = Object.fromEntries(items.map((item) => [item.metadata.name, withoutManagedFields(item)]));
  await eventually(() => {
    expect(Object.fromEntries(informer.list().map((item) => [item.metadata.name, item]))).toEqual(truth);
  }, 15_000);
  expect(Object.fromEntries(seen.known)).toEqual(
    Object.fromEntries(items.map((item) => [item.metadata.name, item.metadata.resourceVersion])),
  );
  expect(seen.wrong).toEqual([]);
  for (const shade of ['0', '1', '2', '3']) {
    const expected = items.filter((item) => item.data?.shade === shade).map((item) => item.metadata.name);
    expect(
      informer
        .byIndex('shade', shade)
        .map((item) => item.metadata.name)
        .sort(),
    ).toEqual(expected.sort());
  }
  expect(informer.stats.failures).toBeGreaterThan(0);
}, 120_000);

test('an API server that stands still is noticed by its silence, and what happened meanwhile arrives', async () => {
  const namespace = await server.createNamespace('silent');
  const failures: unknown[] = [];
  const informer = await informerOf({
    namespace,
    idleDeadline: 500,
    backoff: { base: 50, maximum: 200 },
    onError: (error) => failures.push(error),
  });
  informer.start();
  await informer.waitForSync(AbortSignal.timeout(10_000));
  await server.client.create(configMaps, { metadata: { name: 'before', namespace } });
  await eventually(() => expect(informer.stats.events).toBe(1));
  await server.pause();
  await sleep(1500);
  expect(String(failures[0])).toMatch(/silent for 0.5 s/);
  expect(informer.lastEventAge()).toBeGreaterThan(1000);
  server.resume();
  await server.client.create(configMaps, { metadata: { name: 'afterwards', namespace } });
  await eventually(() => expect(informer.get('afterwards', namespace)).toBeDefined());
}, 60_000);

test('a quiet watch is no failure: the API server ends it in time, and it goes on without a new list', async () => {
  const namespace = await server.createNamespace('quiet');
  const informer = (await informerOf({ namespace, idleDeadline: 4000 })).start();
  await informer.waitForSync(AbortSignal.timeout(10_000));
  await sleep(9000);
  expect(informer.lastEventAge()).toBeLessThan(4000);
  expect(informer.stats).toMatchObject({ lists: 1, events: 0, failures: 0 });
  expect(informer.stats.watches).toBeGreaterThan(1);
}, 30_000);
