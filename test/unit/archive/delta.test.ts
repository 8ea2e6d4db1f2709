import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { ComparedAhead, deltaOf } from '../../../src/archive/delta.ts';
import { PageComparer } from '../../../src/archive/page-comparer.ts';
import { encodePagemap, type PageRun, readPagemap } from '../../../src/archive/pagemap.ts';
import { Ranges } from '../../../src/archive/ranges.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const comparer = new PageComparer();
afterAll(() => comparer[Symbol.asyncDispose]());

const page = 4096;
const [parent, present] = [1, 4];
const patient = new AbortController().signal;
const base = 0x7f00_0000_0000;
const at = (index: number) => base + index * page;

/** Pages of a process by their index; undefined: it does not have that one. */
type Memory = (Buffer | undefined)[];

/** A checkpoint of it; pages that follow each other are one run. */
async function checkpoint(name: string, memory: Memory, pagesId = 1): Promise<string> {
  const directory = join(cleanup.directory(), name);
  await mkdir(directory);
  const runs: PageRun[] = [];
  for (const [index, content] of memory.entries()) {
    const last = runs.at(-1);
    if (!content) continue;
    if (last && last.vaddr + last.pages * page === at(index)) last.pages++;
    else runs.push({ vaddr: at(index), pages: 1, flags: present });
  }
  await writeFile(join(directory, 'pagemap-1.img'), encodePagemap({ id: pagesId, runs }));
  await writeFile(join(directory, `pages-${pagesId}.img`), Buffer.concat(memory.filter((content) => content !== undefined)));
  return directory;
}

async function delta(before: Memory, now: Memory) {
  const found = await between(await checkpoint('now', now, 2), await checkpoint('before', before, 1));
  expect(found.pages).toBe('pages-2.img');
  const { id, runs } = readPagemap(await found.pagemap, 'pagemap-1.img');
  expect(id).toBe(2);
  return { runs, changed: listOf(found.changed), added: listOf(found.added) };
}

/** Of the first round: the destination has what is in `parent`. */
async function between(
  directory: string,
  parent: string,
  { signal = patient, ahead }: { signal?: AbortSignal; ahead?: ComparedAhead } = {},
) {
  const [changed, added] = [new Ranges(), new Ranges()];
  const found = await deltaOf(
    'pagemap-1.img',
    { directory, parent, layout: parent },
    { comparer, changed: () => changed, added: () => added, ...(ahead && { ahead }) },
    signal,
  );
  return { ...found, changed, added };
}

function listOf(ranges: Ranges) {
  const list: { start: number; length: number; at: number }[] = [];
  ranges.eachFrom(0, (start, length, at) => list.push({ start, length, at }) > 0);
  return list;
}

/** Pages by where they are in the later file, and where they belong in the destination's. */
const range = (start: number, pages: number, to = start) => ({ start: start * page, length: pages * page, at: to * page });

const fresh = (count: number): Buffer[] => Array.from({ length: count }, () => randomBytes(page));
const run = (index: number, pages: number, flags: number): PageRun => ({ vaddr: at(index), pages, flags });

test("nothing changed: all is the parent's", async () => {
  const memory = fresh(700);
  expect(await delta(memory, memory)).toEqual({ runs: [run(0, 700, parent)], changed: [], added: [] });
});

test('one byte changes a page, and no other', async () => {
  const before = fresh(600);
  const now = before.map((content) => Buffer.from(content));
  for (const [index, byte] of [
    [0, 0],
    [255, 4095],
    [256, 0],
    [599, 4095],
  ] as const)
    now[index]?.writeUInt8((now[index]?.readUInt8(byte) as number) ^ 1, byte);
  expect(await delta(before, now)).toEqual({
    runs: [run(0, 600, parent)],
    changed: [range(0, 1), range(255, 2), range(599, 1)],
    added: [],
  });
});

test('memory that came, went and stayed is told by address, wherever it lies in the files', async () => {
  const [a, b, c, d, e, f] = fresh(6);
  const before = [a, b, undefined, undefined, c, d, undefined];
  const now = [undefined, b, e, undefined, c, undefined, f];
  expect(await delta(before, now)).toEqual({
    runs: [run(1, 1, parent), run(2, 1, present), run(4, 1, parent), run(6, 1, present)],
    changed: [],
    added: [range(1, 1), range(3, 1)],
  });
});

test('little that changed is also told as if it were new', async () => {
  const before = fresh(20);
  const [changed, added] = fresh(2);
  const now = [undefined, ...before.slice(1, 5), changed, ...before.slice(6), added];
  const found = await between(await checkpoint('now', now), await checkpoint('before', before));
  const few = await found.few;
  expect(few && { runs: readPagemap(few.pagemap, 'x').runs, pages: listOf(few.pages) }).toEqual({
    runs: [run(1, 4, parent), run(5, 1, present), run(6, 14, parent), run(20, 1, present)],
    pages: [range(4, 1), range(19, 1)],
  });
});

test.each([
  ['bytes', 1025, 1],
  ['stretches', 2050, 2],
])('more %s of it are not', async (_what, pages, every) => {
  const before = fresh(pages);
  const now = before.map((content, index) => (index % every === 0 ? (fresh(1)[0] as Buffer) : content));
  const found = await between(await checkpoint('now', now), await checkpoint('before', before));
  expect(await found.few).toBeUndefined();
  expect(found.changed.bytes).toBe((pages / every) * page);
  await found.pagemap;
});

test('what is the same at another address is not the same', async () => {
  const [a, b] = fresh(2);
  expect(await delta([a, b], [b, a])).toEqual({ runs: [run(0, 2, parent)], changed: [range(0, 2)], added: [] });
});

test('nothing of it was there before', async () => {
  const now = fresh(3);
  expect(await delta([], now)).toEqual({ runs: [run(0, 3, present)], changed: [], added: [range(0, 3)] });
});

test('memory of zeros or of no file stays as the page map says', async () => {
  const directory = await checkpoint('now', []);
  const odd = [run(0, 5, 0), run(9, 2, 2)];
  await writeFile(join(directory, 'pagemap-1.img'), encodePagemap({ id: 1, runs: odd }));
  const found = await between(directory, await checkpoint('before', fresh(10)));
  expect(readPagemap(await found.pagemap, 'x').runs).toEqual(odd);
});

test('what changed goes to where it is on the destination, whatever came and went before it', async () => {
  const [a, b, c, d] = fresh(4);
  const [changed] = fresh(1);
  expect(await delta([a, b, undefined, c], [undefined, b, d, changed])).toEqual({
    runs: [run(1, 1, parent), run(2, 1, present), run(3, 1, parent)],
    changed: [range(2, 1, 2)],
    added: [range(1, 1)],
  });
  expect((await delta([a, b, c], [undefined, undefined, changed])).changed).toEqual([range(0, 1, 2)]);
});

test("of a later round, it is compared with the last, and only what that left as it was is the parent's", async () => {
  const [a, b, c, d, e, f] = fresh(6);
  const layout = await checkpoint('first', [a, b, c, d]);
  // Page 1 was away then, and page 4 came: the destination was not told of either.
  const second = await checkpoint('second', [a, undefined, c, d, e]);
  const last = join(cleanup.directory(), 'last');
  await mkdir(last);
  const runs = [run(0, 1, parent), run(2, 2, parent), run(4, 1, present)];
  await writeFile(join(last, 'pagemap-1.img'), encodePagemap({ id: 1, runs }));
  const third = await checkpoint('third', [a, b, c, f, e]);
  const [changed, added] = [new Ranges(), new Ranges()];
  const found = await deltaOf(
    'pagemap-1.img',
    { directory: third, parent: second, layout, last },
    { comparer, changed: () => changed, added: () => added },
    patient,
  );
  expect(readPagemap(await found.pagemap, 'x').runs).toEqual([
    run(0, 1, parent),
    run(1, 1, present),
    run(2, 2, parent),
    run(4, 1, present),
  ]);
  expect([listOf(changed), listOf(added)]).toEqual([[range(3, 1, 3)], [range(1, 1), range(4, 1)]]);
});

test('what an earlier file that is cut short does not have has changed', async () => {
  const memory = fresh(4);
  const before = await checkpoint('before', memory);
  await writeFile(join(before, 'pages-1.img'), Buffer.concat(memory).subarray(0, 3 * page));
  const found = await between(await checkpoint('now', memory), before);
  expect([readPagemap(await found.pagemap, 'x').runs, listOf(found.changed)]).toEqual([[run(0, 4, parent)], [range(0, 4)]]);
});

test('it can be stopped', async () => {
  const memory = fresh(2);
  const directory = await checkpoint('now', memory);
  const { pagemap } = await between(directory, directory, { signal: AbortSignal.abort(new Error('enough')) });
  await expect(pagemap).rejects.toThrow('enough');
});

describe('compared while it is written', () => {
  /** Of more than two batches; every seventh page changed, and so did the last ones. */
  const pages = 5000;
  const before = fresh(pages);
  const now = before.map((content, index) => (index % 7 === 3 || index > 4990 ? randomBytes(page) : content));

  async function both(later: Memory, earlier: Memory = before) {
    const [directory, parent] = [await checkpoint('now', later), await checkpoint('before', earlier)];
    const path = join(directory, 'pages-1.img');
    const content = Buffer.concat(later.filter((found) => found !== undefined));
    await writeFile(path, content.subarray(0, 1000));
    const ahead = new ComparedAhead({ directory, parent }, comparer);
    const { promise: whole, resolve } = Promise.withResolvers<void>();
    const comparing = ahead.file('pages-1.img', whole, patient);
    for (let at = 1000; at < content.length; at += 3_333_333) await appendFile(path, content.subarray(at, at + 3_333_333));
    resolve();
    await Promise.all([comparing, ahead.end()]);
    const asked = jest.spyOn(comparer, 'compare');
    const found = await between(directory, parent, { ahead });
    const runs = readPagemap(await found.pagemap, 'pagemap-1.img').runs;
    const lengths = asked.mock.calls.flatMap(([, , what]) =>
      'pairs' in what ? [...what.pairs.filter((_, index) => index % 3 === 2)] : [],
    );
    const pagesAsked = lengths.reduce((sum, length) => sum + length, 0) / page;
    asked.mockRestore();
    return { runs, changed: listOf(found.changed), added: listOf(found.added), pagesAsked };
  }

  test('it is the same, and only what is no whole batch is compared after it', async () => {
    const expected = await delta(before, now);
    const { pagesAsked, ...found } = await both(now);
    expect(found).toEqual(expected);
    expect(pagesAsked).toBe(pages - 2 * 2048);
  });

  const gone: Memory = [undefined, undefined, undefined];
  test.each([
    ['that went', fresh(3), gone],
    ['that came', gone, fresh(3)],
  ])('after memory %s the rest is looked for where it is now', async (_, was, is) => {
    const tail = fresh(4000);
    const earlier = [...before.slice(0, 100), ...was, ...before.slice(100), ...tail];
    const later = [...now.slice(0, 100), ...is, ...now.slice(100), ...tail];
    const expected = await delta(earlier, later);
    const { pagesAsked, ...found } = await both(later, earlier);
    expect(found).toEqual(expected);
    expect(pagesAsked).toBeLessThan(2 * 2048);
  });

  test('what is nowhere is compared by its address', async () => {
    const later = fresh(pages);
    const { runs, changed } = await both(later);
    expect([runs, changed]).toEqual([[run(0, pages, parent)], [range(0, pages)]]);
  });
});

test('a file that cannot be read fails it', async () => {
  const directory = await checkpoint('now', fresh(3));
  const earlier = await checkpoint('before', fresh(3), 5);
  await rm(join(earlier, 'pages-5.img'));
  const { pagemap } = await between(directory, earlier);
  await expect(pagemap).rejects.toThrow(/ENOENT.*pages-5.img/);
});

test('who waits for a comparison when the thread ends hears of it', async () => {
  const ended = new PageComparer();
  const asked = ended.compare(['/dev/zero', '/dev/zero'], page, { pairs: Float64Array.of(0, 0, page) });
  const terminated = ended[Symbol.asyncDispose]();
  await asked.then(
    ({ differs }) => expect([...differs]).toEqual([0]),
    (error: Error) => expect(error.message).toMatch('the thread that compares pages ended'),
  );
  await terminated;
  await expect(ended.compare(['/dev/zero', '/dev/zero'], page, { pairs: Float64Array.of(0, 0, page) })).rejects.toThrow('ended');
});
