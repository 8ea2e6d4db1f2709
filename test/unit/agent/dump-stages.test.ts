import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dumpBegun } from '../../../src/agent/dump-stages.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Whether it has, after time enough to look several times. */
async function hasBegun(begun: Promise<void>): Promise<boolean> {
  return Promise.race([begun.then(() => true), sleep(50, false)]);
}

test('a dump has begun when there is an image', async () => {
  const images = cleanup.directory();
  const begun = dumpBegun(images, new Promise(() => undefined));
  expect(await hasBegun(begun)).toBe(false);
  writeFileSync(join(images, 'core-1.img'), '');
  await begun;
});

test.each([
  ['whole', (dump: PromiseWithResolvers<void>) => dump.resolve()],
  ['a failure', (dump: PromiseWithResolvers<void>) => dump.reject(new Error('CRIU is not there'))],
])('one that ends without an image is not waited for: %s', async (_what, end) => {
  const dump = Promise.withResolvers<void>();
  dump.promise.catch(() => undefined);
  const begun = dumpBegun(cleanup.directory(), dump.promise);
  expect(await hasBegun(begun)).toBe(false);
  end(dump);
  await begun;
});
