import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Of a thread that uses 20 MB and goes on to use more: megabytes until its garbage is collected next. */
const untilNext = `
  import { constants, PerformanceObserver } from 'node:perf_hooks';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { collectGarbage } from ${JSON.stringify(pathToFileURL('src/util/garbage.ts'))};
  let collections = 0;
  const kinds = [constants.NODE_PERFORMANCE_GC_MAJOR, constants.NODE_PERFORMANCE_GC_INCREMENTAL];
  new PerformanceObserver((list) => {
    collections += list.getEntries().filter(({ detail }) => kinds.includes(detail.kind)).length;
  }).observe({ entryTypes: ['gc'] });
  const used = Array.from({ length: 200 }, (_, i) => new Array(12_500).fill(i));
  const lost = new WeakRef(new Array(12_500).fill(0));
  await sleep(1);
  collectGarbage();
  const collected = lost.deref() === undefined;
  await sleep(20);
  collections = 0;
  let pieces = 0;
  for (; collections === 0 && pieces < 2000; pieces++) {
    used.push(new Array(12_500).fill(pieces));
    if (pieces % 10 === 0) await sleep(1);
  }
  console.log(JSON.stringify({ collected, megabytes: pieces / 10 }));
`;

test('garbage is collected, and then not for a while, but for no longer than it takes to use as much again', async () => {
  const { stdout } = await run(process.execPath, ['--max-semi-space-size=1', '--input-type=module', '--eval', untilNext]);
  const { collected, megabytes } = JSON.parse(stdout) as { collected: boolean; megabytes: number };
  expect(collected).toBe(true);
  expect(megabytes).toBeGreaterThan(15);
  // By itself V8 would wait for four times as much.
  expect(megabytes).toBeLessThan(45);
});
