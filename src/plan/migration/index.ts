import { accept } from './accept.ts';
import { cleanUp } from './clean-up.ts';
import { finished } from './finished.ts';
import { hold } from './hold.ts';
import { move } from './move.ts';
import type { Observation, Plan } from './observation.ts';
import { prepare } from './prepare.ts';
import { restore } from './restore.ts';
import { comeBack } from './return.ts';
import { undo } from './roll-back.ts';
import { switchOver } from './switch-over.ts';

export { policyOf } from './accept.ts';
export type * from './observation.ts';
export { actionsOf } from './progress.ts';

/** The next step of a migration. Pure: the same observation always gives the same plan. */
export function planMigration(observation: Observation): Plan {
  const phase = observation.migration.status?.phase ?? 'Pending';
  switch (phase) {
    case 'Pending':
      return accept(observation);
    case 'Preparing':
      return prepare(observation);
    case 'Freezing':
    case 'Checkpointing':
    case 'Shipping':
      return move(observation);
    case 'Holding':
      return hold(observation);
    case 'Switching':
      return switchOver(observation);
    case 'Restoring':
      return restore(observation);
    case 'CleaningUp':
      return cleanUp(observation);
    case 'RollingBack':
      return undo(observation);
    case 'Returning':
      return comeBack(observation);
    case 'Succeeded':
    case 'Failed':
      return finished(observation);
  }
}
