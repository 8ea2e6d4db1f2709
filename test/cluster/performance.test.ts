import { Bench } from '../bench/bench.ts';
import type { Cell } from '../bench/cells.ts';
import { duration } from '../bench/plot.ts';
import type { Trial } from '../bench/results.ts';

/**
 * A guard, not a measurement (`make bench` is that): by how much podferry is faster than the documented way, each bound
 * well below what a quiet machine shows.
 */
const guarded = [
  { mebibytes: 64, atLeast: 1.2 },
  { mebibytes: 256, atLeast: 1.5 },
];

let bench: Bench;

beforeAll(async () => {
  bench = await Bench.open('test-performance');
});

afterAll(() => bench?.close());

it.each(guarded)(
  '$mebibytes MiB: the documented way stops a pod at least $atLeast times as long',
  async ({ mebibytes, atLeast }) => {
    const cell: Cell = { mebibytes, load: 'random', containers: 1 };
    const documented = await bench.trial('documented', cell, 1);
    const podferry = await bench.trial('podferry', cell, 1);
    process.stderr.write([documented, podferry].map((trial) => `${lineOf(trial)}\n`).join(''));
    expect(documented.downtime / podferry.downtime).toBeGreaterThanOrEqual(atLeast);
  },
  180_000,
);

function lineOf({ way, mebibytes, downtime, parts, startParts }: Trial): string {
  const list = (each: Trial['parts']) => each.map(({ name, milliseconds }) => `${name} ${duration(milliseconds)}`).join(', ');
  return `${mebibytes} MiB, ${way}: stopped for ${duration(downtime)}: ${list(parts)} (${list(startParts)})`;
}
