import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PageComparer } from '../../../src/archive/page-comparer.ts';
import { Ranges, RangesOfFile } from '../../../src/archive/ranges.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const reader = new PageComparer();
afterAll(() => reader[Symbol.asyncDispose]());

describe('parts of a file', () => {
  const content = randomBytes(3_000_000);
  async function open(parts = [{ start: 0, length: content.length }], whole?: Promise<void>) {
    const ranges = new Ranges();
    for (const { start, length } of parts) ranges.add(start, length);
    const path = join(cleanup.directory(), 'pages');
    await writeFile(path, content);
    return { ranges, source: new RangesOfFile(path, ranges, reader, whole) };
  }
  async function all({ source }: { source: RangesOfFile }, piece: number): Promise<Buffer> {
    const total = await source.available(0, undefined);
    const into = Buffer.alloc(total);
    for (let at = 0; at < total; ) at += await source.read(into.subarray(at, at + piece), at);
    return into;
  }

  test.each([1000, 70_000, 5_000_000])('are one after the other, %i bytes at a time', async (piece) => {
    const ranges = [
      { start: 10, length: 5 },
      { start: 20, length: 1 },
      { start: 4096, length: 100_000 },
      { start: 1_500_000, length: 1_400_000 },
    ];
    const expected = Buffer.concat(ranges.map(({ start, length }) => content.subarray(start, start + length)));
    expect((await all(await open(ranges), piece)).equals(expected)).toBe(true);
    expect((await all(await open(), piece)).equals(content)).toBe(true);
  });

  test('can be read again from anywhere', async () => {
    const opened = await open([
      { start: 100, length: 50 },
      { start: 2_900_000, length: 50 },
    ]);
    await all(opened, 100);
    const { source } = opened;
    const into = Buffer.alloc(20);
    expect(await source.read(into, 40)).toBe(20);
    expect(into.equals(Buffer.concat([content.subarray(140, 150), content.subarray(2_900_000, 2_900_010)]))).toBe(true);
  });

  test('that the file does not have are not there', async () => {
    const { source } = await open([{ start: 2_999_990, length: 20 }]);
    expect(await source.read(Buffer.alloc(20), 0)).toBe(10);
    expect(await source.read(Buffer.alloc(20), 10)).toBe(0);
  });

  test('may be added while they are read, also to the last one', async () => {
    const { promise: whole, resolve } = Promise.withResolvers<void>();
    const { ranges, source } = await open([{ start: 0, length: 10 }], whole);
    const into = Buffer.alloc(30);
    expect(await source.read(into, 0)).toBe(10);
    const more = source.available(10, undefined);
    ranges.add(10, 5);
    ranges.add(100, 5);
    expect(await more).toBeGreaterThan(0);
    resolve();
    expect(await source.read(into, 10)).toBe(10);
    expect(into.subarray(0, 10).equals(Buffer.concat([content.subarray(10, 15), content.subarray(100, 105)]))).toBe(true);
    expect(await source.available(20, undefined)).toBe(0);
  });

  test('what keeps them from becoming whole fails who waits', async () => {
    const whole = Promise.reject(new Error('it cannot be compared'));
    whole.catch(() => undefined);
    const { source } = await open([], whole);
    await expect(source.available(0, undefined)).rejects.toThrow('it cannot be compared');
  });
});
