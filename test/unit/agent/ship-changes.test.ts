import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { aheadOf, type ChangesRoute, keepMaps, packWithoutPages, shipChanges } from '../../../src/agent/ship-changes.ts';
import { shipPages } from '../../../src/agent/ship-directory.ts';
import type { WarmLayer } from '../../../src/agent/source-record.ts';
import { PageComparer } from '../../../src/archive/page-comparer.ts';
import { encodePagemap, flag, type PageRun, readPagemap } from '../../../src/archive/pagemap.ts';
import { TarParser } from '../../../src/archive/tar-parser.ts';
import type { BlobStore } from '../../../src/image/blob-store.ts';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { TokenBucket } from '../../../src/util/pace.ts';
import { Cleanup, startRegistry } from '../image/fixtures.ts';

/** What changed since memory was sent ahead, by a real registry. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const comparer = new PageComparer();
afterAll(() => comparer[Symbol.asyncDispose]());

const page = 4096;
const address = (index: number) => 0x7f00_0000_0000 + index * page;

/** Pages of a process by their index; undefined: it does not have that one. */
type Memory = (Buffer | undefined)[];
/** Processes by their number. */
type Container = Map<number, Memory>;

/** As CRIU writes it. */
function dump(container: Container): string {
  const directory = cleanup.directory();
  const images = join(directory, 'checkpoint');
  mkdirSync(images);
  for (const [pid, memory] of container) {
    const runs: PageRun[] = [];
    for (const [index, content] of memory.entries()) {
      const last = runs.at(-1);
      if (!content) continue;
      if (last && last.vaddr + last.pages * page === address(index)) last.pages++;
      else runs.push({ vaddr: address(index), pages: 1, flags: flag.present });
    }
    writeFileSync(join(images, `pagemap-${pid}.img`), encodePagemap({ id: pid, runs }));
    writeFileSync(join(images, `pages-${pid}.img`), Buffer.concat(memory.filter((content) => content !== undefined)));
  }
  writeFileSync(join(images, 'core-1.img'), 'registers');
  return directory;
}

async function start() {
  const { registry, store } = await startRegistry(cleanup);
  const client = cleanup.client(new RegistryClient({ registry, scheme: 'http' }));
  const route = (readAgain: boolean): ChangesRoute => ({
    client,
    has: async (digest) => (await store.stat(digest)) !== undefined,
    repository: 't/app',
    flow: { progress: () => undefined, pace: new TokenBucket() },
    signal: new AbortController().signal,
    readAgain,
  });
  const whole = Promise.resolve();
  /** A round: what there is after it. */
  const round = async (path: string, layers: WarmLayer[]): Promise<WarmLayer> => {
    if (layers.length > 0) {
      const { parent, bytes } = await shipChanges(path, aheadOf(layers), whole, comparer, route(true));
      return { path, pages: Object.fromEntries(parent), bytes, memory: 0 };
    }
    const pages = await shipPages(path, whole, route(true));
    await keepMaps(path);
    return { path, pages: Object.fromEntries(pages), bytes: 0, memory: 0 };
  };
  const freeze = async (path: string, layers: WarmLayer[], change: Partial<ChangesRoute> = {}, complete = whole) => {
    const sent = await shipChanges(path, aheadOf(layers), complete, comparer, { ...route(false), ...change });
    const archive = await buffer(await packWithoutPages(path, Promise.resolve(sent), '/content', aheadOf(layers)));
    return { ...sent, images: await imagesOf(archive) };
  };
  return { store, round, freeze };
}

async function imagesOf(archive: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const parser = new TarParser();
  let name = '';
  for await (const chunk of Readable.from([archive]))
    for (const part of parser.feed(chunk as Buffer)) {
      if (part.kind === 'entry') {
        name = part.entry.name;
        files.set(name, Buffer.alloc(0));
      } else if (part.kind === 'data') files.set(name, Buffer.concat([files.get(name) as Buffer, part.data]));
    }
  return new Map([...files].map(([path, content]) => [path.replace('checkpoint/', ''), content]));
}

/** A process's memory as CRIU puts it together from an incremental checkpoint. */
async function restored(images: Map<string, Buffer>, store: BlobStore, pid: number): Promise<Map<number, Buffer>> {
  const links = new Map(
    String(images.get('podferry.pages'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(' ') as [string, string]),
  );
  // In the archive itself, or where that says.
  const blob = async (name: string) => images.get(name) ?? buffer(store.read(`sha256:${links.get(name)?.replace('/content/', '')}`));
  const read = async (under: string, map: Buffer): Promise<(index: number) => Buffer> => {
    const { id, runs } = readPagemap(map, 'x');
    const kept = images.get(links.get(`parent/pagemap-${pid}.img`) ?? 'none');
    const parent = under === '' && kept ? await read('parent/', kept) : undefined;
    const content = runs.some(({ flags }) => flags === flag.present) ? await blob(`${under}pages-${id}.img`) : Buffer.alloc(0);
    const pages = new Map<number, Buffer>();
    let place = 0;
    for (const { vaddr, pages: count, flags } of runs)
      for (let index = 0; index < count; index++) {
        const number = (vaddr - address(0)) / page + index;
        if (flags !== flag.present) pages.set(number, parent?.(number) as Buffer);
        else {
          pages.set(number, content.subarray(place, place + page));
          place += page;
        }
      }
    wanted.push([...pages.keys()]);
    return (number) => pages.get(number) as Buffer;
  };
  const wanted: number[][] = [];
  const find = await read('', images.get(`pagemap-${pid}.img`) as Buffer);
  return new Map((wanted.at(-1) as number[]).map((number) => [number, find(number)]));
}

async function expectSame(images: Map<string, Buffer>, store: BlobStore, container: Container) {
  for (const [pid, memory] of container) {
    const found = await restored(images, store, pid);
    expect([...found.keys()]).toEqual([...memory.keys()].filter((index) => memory[index]));
    for (const [index, content] of found)
      if (!content.equals(memory[index] as Buffer)) throw new Error(`page ${index} of process ${pid} is another`);
  }
}

const most = 40;
const change = fc.record({
  pid: fc.integer({ min: 1, max: 3 }),
  index: fc.nat(most - 1),
  count: fc.integer({ min: 1, max: 8 }),
  what: fc.constantFrom('write' as const, 'write' as const, 'zero' as const, 'free' as const),
});

test('however memory comes, goes and changes from round to round, the restore finds it as it was at the freeze', async () => {
  const { store, round, freeze } = await start();
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(change, { maxLength: 8 }), { minLength: 2, maxLength: 4 }), async (rounds) => {
      const container: Container = new Map([[1, Array.from({ length: most / 2 }, () => randomBytes(page))]]);
      const layers: WarmLayer[] = [];
      for (const [number, changes] of rounds.entries()) {
        for (const { pid, index, count, what } of changes) {
          const memory = container.get(pid) ?? [];
          container.set(pid, memory);
          for (let at = index; at < Math.min(index + count, most); at++)
            memory[at] = what === 'free' ? undefined : what === 'zero' ? Buffer.alloc(page) : randomBytes(page);
        }
        if (number < rounds.length - 1) {
          layers.push(await round(dump(container), layers));
          continue;
        }
        const { images } = await freeze(dump(container), layers);
        expect(String(images.get('core-1.img'))).toBe('registers');
        await expectSame(images, store, container);
      }
    }),
    { numRuns: 40 },
  );
}, 60_000);

test('only what changed travels, and what there is no place for waits for the freeze', async () => {
  const { store, round, freeze } = await start();
  const memory: Memory = Array.from({ length: 20 }, () => randomBytes(page));
  const container = new Map([[1, memory]]);
  const layers = [await round(dump(container), [])];
  memory[3] = randomBytes(page);
  memory[25] = randomBytes(page);
  layers.push(await round(dump(container), layers));
  expect(layers[1]?.bytes).toBe(page);
  memory[4] = randomBytes(page);
  const { bytes, own, parent, images } = await freeze(dump(container), layers);
  // So little goes in the archive, and what was sent ahead stays as it is.
  expect([bytes, ...own]).toEqual([0]);
  expect(images.get('pages-1.img')).toEqual(Buffer.concat([memory[4], memory[25]]));
  expect(Object.fromEntries(parent)).toEqual(layers[1]?.pages);
  await expectSame(images, store, container);
});

test('much that changed is written where it was, on the destination', async () => {
  const { store, round, freeze } = await start();
  const memory: Memory = Array.from({ length: 1100 }, () => randomBytes(page));
  const container = new Map([[1, memory]]);
  const layers = [await round(dump(container), [])];
  for (let index = 0; index < 1025; index++) memory[index] = randomBytes(page);
  const { bytes, parent, images } = await freeze(dump(container), layers);
  expect(bytes).toBe(1025 * page);
  expect(images.get('pages-1.img')).toEqual(Buffer.alloc(0));
  expect(parent.get('pages-1.img')?.digest).not.toBe(layers[0]?.pages['pages-1.img']?.digest);
  await expectSame(images, store, container);
});

test('what changed is written there too when it does not say whether it has what was sent ahead', async () => {
  const { store, round, freeze } = await start();
  const memory: Memory = [randomBytes(page), randomBytes(page)];
  const container = new Map([[1, memory]]);
  const layers = [await round(dump(container), [])];
  memory[1] = randomBytes(page);
  const { bytes, images } = await freeze(dump(container), layers, { has: () => Promise.reject(new Error('connection reset')) });
  expect(bytes).toBe(page);
  await expectSame(images, store, container);
});

describe('while CRIU looks at mounts the memory of processes is compared already', () => {
  /** A dump of which the memory is written, and what changed of it on its way: so much that it is patched. */
  const half = async (others: Container = new Map()) => {
    const { store, round, freeze } = await start();
    const memory: Memory = Array.from({ length: 1100 }, () => randomBytes(page));
    const container: Container = new Map([[1, memory], ...others]);
    const layers = [await round(dump(container), [])];
    for (let index = 0; index < 1025; index++) memory[index] = randomBytes(page);
    const path = dump(container);
    const at = (name: string) => join(path, 'checkpoint', name);
    const [begun, complete] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const flow = { progress: (bytes: number) => void (bytes > 0 && begun.resolve()), pace: new TokenBucket() };
    const run = () => {
      const done = freeze(path, layers, { flow }, complete.promise);
      done.catch(() => undefined);
      writeFileSync(at('mountpoints-12.img'), 'mounts');
      return { done, begun: begun.promise };
    };
    return { store, container, at, run, end: complete.resolve };
  };

  test('and sent', async () => {
    const { store, container, run, end } = await half();
    const { done, begun } = run();
    await begun;
    end();
    await expectSame((await done).images, store, container);
  });

  test('what comes later is taken along: memory that is shared, and a process', async () => {
    const { store, container, at, run, end } = await half(new Map([[2, [randomBytes(page)]]]));
    for (const name of ['pagemap-2.img', 'pages-2.img']) renameSync(at(name), at(`${name}.later`));
    const { done, begun } = run();
    await begun;
    for (const name of ['pagemap-2.img', 'pages-2.img']) renameSync(at(`${name}.later`), at(name));
    const shared = randomBytes(page);
    writeFileSync(at('pagemap-shmem-7.img'), encodePagemap({ id: 7, runs: [{ vaddr: 0, pages: 1, flags: flag.present }] }));
    writeFileSync(at('pages-7.img'), shared);
    end();
    const { images } = await done;
    await expectSame(images, store, container);
    expect(images.get('pages-7.img')).toEqual(shared);
  });

  test('a CRIU that goes on with it is found out', async () => {
    const { at, run, end } = await half();
    const { done, begun } = run();
    await begun;
    appendFileSync(at('pages-1.img'), randomBytes(page));
    end();
    await expect(done).rejects.toMatchObject({ code: 'changed', message: /went on with pages-1\.img/ });
  });
});

test('much memory that is new goes beside the archive', async () => {
  const { store, round, freeze } = await start();
  const memory: Memory = [randomBytes(page)];
  const container = new Map([[1, memory]]);
  const layers = [await round(dump(container), [])];
  for (let index = 1; index <= 1537; index++) memory[index] = randomBytes(page);
  const { bytes, own, images } = await freeze(dump(container), layers);
  expect([bytes, ...[...own.values()].map(({ size }) => size)]).toEqual([1537 * page, 1537 * page]);
  expect(images.has('pages-1.img')).toBe(false);
  await expectSame(images, store, container);
});

test('a destination that has lost what was sent ahead says so', async () => {
  const { store, round, freeze } = await start();
  const container: Container = new Map([[1, [randomBytes(page)]]]);
  const layer = await round(dump(container), []);
  await store.remove(layer.pages['pages-1.img']?.digest as string);
  await expect(freeze(dump(container), [layer])).rejects.toMatchObject({ code: 'not-found' });
});

test('a dump that fails ends it, with its error', async () => {
  const { round } = await start();
  const container: Container = new Map([[1, [randomBytes(page)]]]);
  const layers = [await round(dump(container), [])];
  const route = {
    repository: 't/app',
    flow: { progress: () => undefined, pace: new TokenBucket() },
    readAgain: false,
    has: async () => true,
  };
  const client = { uploadAppended: () => Promise.reject(new Error('not reached')) } as unknown as RegistryClient;
  const failing = Promise.reject(new Error('CRIU gave up'));
  failing.catch(() => undefined);
  const signal = new AbortController().signal;
  await expect(shipChanges(dump(container), aheadOf(layers), failing, comparer, { ...route, client, signal })).rejects.toThrow(
    'CRIU gave up',
  );
});
