import { mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { allIn, freeBytes, sync } from '../../../src/agent/disk.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

test('of a directory, or of where it will be', () => {
  const directory = cleanup.directory();
  const { blocks, bsize } = statfsSync(directory);
  for (const path of [directory, join(directory, 'not', 'yet')]) {
    expect(freeBytes(path)).toBeGreaterThan(0);
    expect(freeBytes(path)).toBeLessThan(blocks * bsize);
  }
});

test('a file system that counts nothing, and what is no path', () => {
  expect(freeBytes('/proc')).toBeUndefined();
  expect(freeBytes('/proc/self/stat/below-a-file')).toBeUndefined();
});

test('all that is in a directory, and how much; of a file that file', async () => {
  const directory = cleanup.directory();
  mkdirSync(join(directory, 'within'));
  writeFileSync(join(directory, 'one'), 'four');
  writeFileSync(join(directory, 'within', 'two'), 'seven b');
  const { paths, bytes } = allIn(directory);
  expect(paths.toSorted()).toEqual([directory, join(directory, 'one'), join(directory, 'within'), join(directory, 'within', 'two')]);
  expect(bytes).toBe(11);
  expect(allIn(join(directory, 'one'))).toEqual({ paths: [join(directory, 'one')], bytes: 4 });
  expect(() => allIn(join(directory, 'none'))).toThrow('ENOENT');
  for (const path of paths) await sync(path);
  await expect(sync(join(directory, 'none'))).rejects.toThrow('ENOENT');
});
