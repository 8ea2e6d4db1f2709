import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import { freeBytes } from '../../../src/agent/disk.ts';
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
