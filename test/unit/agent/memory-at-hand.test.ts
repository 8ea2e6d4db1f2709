import { readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MemoryAtHand } from '../../../src/agent/memory-at-hand.ts';
import { Cleanup, until } from '../image/fixtures.ts';

/** Memory that is taken before somebody needs it. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const patient = new AbortController().signal;
const mebibyte = 2 ** 20;

/** How many files this process has open that have no name there any more. */
function held(directory: string): number {
  const targets = readdirSync('/proc/self/fd').map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      return '';
    }
  });
  return targets.filter((target) => target.startsWith(join(directory, '.at-hand-'))).length;
}

test('memory is held without a file that anybody sees, and let go of once', async () => {
  const directory = join(cleanup.directory(), 'checkpoints');
  const taken = await MemoryAtHand.take(directory, 160 * mebibyte, 60_000, patient);
  expect(readdirSync(directory)).toEqual([]);
  expect(held(directory)).toBe(1);
  await taken[Symbol.asyncDispose]();
  await taken[Symbol.asyncDispose]();
  expect(held(directory)).toBe(0);
});

test('little is not worth it', async () => {
  const directory = cleanup.directory();
  const taken = await MemoryAtHand.take(directory, 100 * mebibyte, 60_000, patient);
  expect(held(directory)).toBe(0);
  await taken[Symbol.asyncDispose]();
});

test('it takes no longer than it may', async () => {
  const directory = cleanup.directory();
  const began = performance.now();
  const taken = await MemoryAtHand.take(directory, 64 * 1024 * mebibyte, 50, patient);
  expect(performance.now() - began).toBeLessThan(5_000);
  await taken[Symbol.asyncDispose]();
});

test('a stop ends it, and nothing is held', async () => {
  const directory = cleanup.directory();
  const stop = new AbortController();
  const taking = MemoryAtHand.take(directory, 64 * 1024 * mebibyte, 60_000, stop.signal);
  taking.catch(() => undefined);
  await until(() => held(directory) === 1);
  stop.abort(new Error('enough'));
  await expect(taking).rejects.toThrow('enough');
  expect(held(directory)).toBe(0);
});

test('where no file can be made nothing is lost', async () => {
  const file = join(cleanup.directory(), 'file');
  writeFileSync(file, '');
  const taken = await MemoryAtHand.take(join(file, 'none'), 160 * mebibyte, 60_000, patient);
  await taken[Symbol.asyncDispose]();
});
