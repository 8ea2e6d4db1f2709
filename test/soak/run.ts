/** `make soak [MOVES=100] [SEED=1]`: prints a report as JSON; exit code 1 when a write was lost, a file differs or something is left. */
import { closeCluster } from '../cluster/support/cluster.ts';
import { handle } from '../cluster/support/lab.ts';
import { Space } from '../cluster/support/space.ts';
import { soak } from './soak.ts';

const space = new Space('soak');
try {
  await space.remove();
  await handle('namespace', space.name);
  const report = await soak(space, {
    moves: Number(process.env.MOVES || 100),
    faultEvery: 4,
    seed: Number(process.env.SEED || 1),
    say: (text) => process.stderr.write(`${text}\n`),
  });
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  const bad = report.lost > 0 || report.journalFaults.length > 0 || report.leftovers.length > 0;
  if (bad) process.exitCode = 1;
  await space.remove();
} finally {
  await closeCluster();
}
