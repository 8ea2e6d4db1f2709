import { isRoundWorthIt, type WarmFacts } from '../../../src/plan/warm.ts';

const mebi = 2 ** 20;
const facts = (change: Partial<WarmFacts>): WarmFacts => ({
  rounds: 0,
  most: 3,
  memory: 1024 * mebi,
  changed: undefined,
  since: 4,
  sendRate: 300 * mebi,
  dumpRate: 900 * mebi,
  seconds: 300,
  ...change,
});

/** Half of the memory changed, in so many seconds. */
const half = (seconds: number) => ({ bytes: 512 * mebi, seconds });

test.each<[string, Partial<WarmFacts>, boolean]>([
  ['much memory, a network slower than the disk', {}, true],
  ['little memory', { memory: 64 * mebi }, true],
  ['so little that nobody notices', { memory: 32 * mebi }, false],
  ['a network as fast as the disk: all is sent while it is written', { sendRate: 900 * mebi }, false],
  ['little memory, a slow network', { memory: 64 * mebi, sendRate: 12 * mebi }, true],
  ['a slow disk: the round itself costs more than it saves', { dumpRate: 200 * mebi }, false],
  ['no rounds are wanted', { most: 0 }, false],
  ['no time for them', { seconds: 6 }, false],
  ['hardly time for them', { seconds: 7 }, true],
  ['after one, nobody knows what changes: not when it was quick', { rounds: 1 }, false],
  ['after one that took long', { rounds: 1, sendRate: 150 * mebi, since: 7 }, true],
  ['after two, much changed in a long time', { rounds: 2, changed: half(8), since: 8, sendRate: 150 * mebi }, true],
  ['after two, as much in as short a time', { rounds: 2, changed: half(4), sendRate: 150 * mebi }, false],
  ['after two, little changed', { rounds: 2, changed: { bytes: 50 * mebi, seconds: 8 }, sendRate: 150 * mebi }, false],
  ['as many as there may be', { rounds: 3, changed: half(400), sendRate: 10 * mebi }, false],
])('%s', (_, change, expected) => {
  expect(isRoundWorthIt(facts(change))).toBe(expected);
});
