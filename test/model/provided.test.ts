import { planMigration } from '../../src/plan/migration/index.ts';
import { allFaults } from './faults.ts';
import { expectSafe } from './report.ts';
import { startOf } from './start.ts';

test('a target that somebody creates, any one fault', () => {
  expectSafe('Provided, all kinds', { start: startOf('user', 1, 1), planner: planMigration, faults: allFaults });
});
