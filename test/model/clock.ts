import { isStalled, statusAt } from './statuses.ts';
import { type MigrationState, type Step, type World, withMigration } from './world.ts';

/** Which deadline runs in a phase; phases that share one share its passing. */
function deadlineOf(status: number): string {
  const { phase = 'Pending', returns = 0 } = statusAt(status);
  switch (phase) {
    case 'Preparing':
    case 'Switching':
    case 'Restoring':
    case 'Holding':
      return phase;
    case 'Freezing':
    case 'Checkpointing':
    case 'Shipping':
      return 'frozen';
    case 'Returning':
      // Between tries, once the prompt ones are used up.
      return returns > 3 ? `Returning/${isStalled(status)}` : '';
    default:
      return '';
  }
}

/** Whether a deadline that has passed is still that of the status written now. */
export function staysLate(before: number, after: number): boolean {
  return deadlineOf(before) === deadlineOf(after);
}

/** Deadlines pass whenever they like. */
export function clockSteps(world: World): Step[] {
  return world.migs.flatMap((mig, m) =>
    runs(mig)
      ? [{ label: `time: the deadline of ${statusAt(mig.status).phase} passes`, world: withMigration(world, m, { late: true }) }]
      : [],
  );
}

function runs({ gone, late, status }: MigrationState): boolean {
  return !gone && !late && deadlineOf(status) !== '';
}
