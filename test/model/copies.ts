import { isFinished } from '../../src/api/migration.ts';
import { statusAt } from './statuses.ts';
import { migrationOf, type World } from './world.ts';

/** Where the memory of a pod is. */

/** Processes that run with the memory of this migration's pod. */
export function running(world: World, m: number): string[] {
  return world.procs.filter((process) => process.m === m && process.mem !== 'base' && process.st === 'run').map(({ uid }) => uid);
}

/** Whether the migration has come to its end, or its object is gone. */
export function isOver(world: World, m: number): boolean {
  const { gone, status } = migrationOf(world, m);
  return gone || isFinished({ status: statusAt(status) } as Parameters<typeof isFinished>[0]);
}

/** Whether the memory runs, is frozen, or lies whole on a node that has power and a migration that is not over cares for it. */
export function hasCopy(world: World, m: number): boolean {
  if (world.procs.some((process) => process.m === m && process.mem !== 'base' && (process.st !== 'pulled' || !isOver(world, m))))
    return true;
  if (isOver(world, m)) return false;
  const { source, targets } = migrationOf(world, m);
  if (source?.archive && world.nodes.a.power) return true;
  return (['a', 'b'] as const).some((node) => {
    const record = targets[node];
    return world.nodes[node].power && record !== null && record.st !== 'Prepared' && record.st !== 'Committed';
  });
}
