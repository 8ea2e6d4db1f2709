/** `make soak [MOVES=100] [SEED=1]`: prints a report as JSON; exit code 1 when a write was lost, a file differs, something is left or memory grew. */
import { closeCluster } from '../cluster/support/cluster.ts';
import { handle } from '../cluster/support/lab.ts';
import { Space } from '../cluster/support/space.ts';
import { soak } from './soak.ts';

const space = new Space('soak');

/** MiB that a process may have grown in the quiet moves: its collector is in no hurry. */
const allowedGrowth = 30;

try {
  await space.remove();
  await handle('namespace', space.name);
  const moves = Number(process.env.MOVES || 100);
  const report = await soak(space, {
    moves,
    quietMoves: Math.ceil(moves * 0.4),
    faultEvery: 4,
    seed: Number(process.env.SEED || 1),
    say: (text) => process.stderr.write(`${text}\n`),
  });
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  const grown = Object.entries(report.memoryAfter).filter(
    ([process, after]) => after > (report.memoryBefore[process] ?? 0) + allowedGrowth,
  );
  if (grown.length) process.stderr.write(`memory grew: ${grown.map(([process]) => process)}\n`);
  if (report.lost > 0 || report.journalFaults.length > 0 || report.leftovers.length > 0 || grown.length) process.exitCode = 1;
  await space.remove();
} finally {
  await closeCluster();
}
