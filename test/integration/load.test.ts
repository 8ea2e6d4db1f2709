import { load } from '../load/load.ts';
import { problemsOf } from '../load/report.ts';
import { optionsOf, small } from '../load/sizes.ts';

test('a hundred pods on ten nodes, evicted at once: every answer in time, limits held, requests and memory bounded', async () => {
  const said: string[] = [];
  const report = await load(optionsOf(small, (text) => said.push(text))).catch((error: unknown) => {
    throw new Error(said.join('\n'), { cause: error });
  });
  expect(problemsOf(report, small.bounds)).toEqual([]);
  // Otherwise the limits were never felt.
  expect(report.seen.most).toMatchObject({ perSource: small.limits.perSource });
  expect(report.seen.positionsShown).toBeGreaterThan(0);
  expect(report.killed?.running).toBeGreaterThan(0);
}, 600_000);
