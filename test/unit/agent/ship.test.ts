import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Shipper } from '../../../src/agent/ship.ts';
import { encodePagemap, flag } from '../../../src/archive/pagemap.ts';
import { TokenBucket } from '../../../src/util/pace.ts';
import { members } from '../archive/fixtures.ts';
import { Cleanup, startRegistry } from '../image/fixtures.ts';
import { agent, authority } from './certificates.ts';
import { sourceRequest } from './source-fixtures.ts';

/** Archives and memory, sent to another agent. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const page = 4096;
const pages = 30;

/** A checkpoint in a directory, with so much memory; of a pod that runs on, only CRIU's images. */
function checkpoint(memory: Buffer): string {
  const directory = cleanup.directory();
  for (const { name, content = '' } of members().filter(({ name }) => !name.endsWith('/') && !name.includes('/pages-'))) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), content);
  }
  const runs = [{ vaddr: 0x7f00_0000_0000, pages, flags: flag.present }];
  writeFileSync(join(directory, 'checkpoint/pagemap-1.img'), encodePagemap({ id: 1, runs }));
  writeFileSync(join(directory, 'checkpoint/pages-1.img'), memory);
  return directory;
}

async function start() {
  const { registry, store, backend } = await startRegistry(cleanup, {
    tls: { cert: agent.cert, key: agent.key, ca: authority.cert, requestCert: true },
  });
  const tls = () => ({ ca: authority.cert, cert: agent.cert, key: agent.key });
  const shipper = cleanup.add(new Shipper({ tls, registry: undefined, kubeletDirectory: '/none' }), (it) => it.close());
  const request = sourceRequest('Shipped', {
    containers: [{ name: 'counter', rootfsImageRef: 'localhost:5001/t/counter@sha256:1' }],
    destination: { address: registry, repository: 't', contentDirectory: '/content' },
  });
  const flow = { progress: () => undefined, pace: new TokenBucket() };
  const signal = new AbortController().signal;
  const memory = randomBytes(pages * page);
  const whole = Promise.resolve();
  const layer = await shipper.memory(request, 'counter', { path: checkpoint(memory), whole, layers: [] }, flow, signal);
  randomBytes(page).copy(memory, 7 * page);
  const ship = (before?: Awaited<ReturnType<typeof shipper.archive>>, dump = { path: checkpoint(memory), whole }) =>
    shipper.archive(request, 'counter', { ...dump, layers: before ? [] : [layer], ...(before && { before }) }, flow, signal);
  return { store, backend, ship, layer, memory };
}

test('after memory was sent ahead, what changed and the archive', async () => {
  const { store, backend, ship, layer } = await start();
  const shipped = await ship();
  expect(shipped).toMatchObject({ beside: true, incremental: true });
  expect(shipped.bytes).toBeLessThan(layer.bytes);
  const manifest = backend.manifests.get(`t/counter ${shipped.digest}`);
  const { layers } = JSON.parse(String(manifest?.body)) as { layers: { digest: string }[] };
  expect(await store.stat(layers[0]?.digest ?? '')).toBeDefined();
  // So little goes in the archive, and what was sent ahead stays as it is.
  expect(await store.stat(layer.pages['pages-1.img']?.digest ?? '')).toBeDefined();
});

test('a destination that has lost it gets all of it', async () => {
  const { store, ship, layer } = await start();
  await store.remove(layer.pages['pages-1.img']?.digest ?? '');
  const shipped = await ship();
  expect(shipped.incremental).toBeUndefined();
  expect(shipped.bytes).toBeGreaterThan(layer.bytes);
});

test('all of it goes too where CRIU went on with memory that had been compared', async () => {
  const { ship, layer, memory } = await start();
  const path = checkpoint(memory);
  writeFileSync(join(path, 'checkpoint/mountpoints-12.img'), 'mounts');
  const goesOn = async () => {
    // By then it has been compared.
    await sleep(1000);
    appendFileSync(join(path, 'checkpoint/pages-1.img'), randomBytes(page));
  };
  const shipped = await ship(undefined, { path, whole: goesOn() });
  expect(shipped.incremental).toBeUndefined();
  expect(shipped.bytes).toBeGreaterThan(layer.bytes);
});

test('shipped once more, for a return, it has to be what it was', async () => {
  const { ship } = await start();
  const shipped = await ship();
  const again = await ship(shipped);
  expect(again.incremental).toBeUndefined();
  await expect(ship({ ...again, checksum: 1 })).rejects.toMatchObject({ code: 'changed' });
});
