import { planMigration } from '../../src/plan/migration/index.ts';
import { allFaults } from './faults.ts';
import { expectSafe } from './report.ts';
import { startOf } from './start.ts';

const planner = planMigration;

test('a bare pod, any one fault', () => {
  expectSafe('Recreate, all kinds', { start: startOf('none', 1, 0), planner, faults: allFaults });
});

test('a bare pod, any one fault of people and nodes, and a deadline', () => {
  expectSafe('Recreate, cancel, people', { start: startOf('none', 1, 1), planner, faults: ['cancel', 'people'] });
});

test('a bare pod that is cancelled, and one answer that is lost', () => {
  expectSafe('Recreate, two of cancel, lostAnswer', { start: startOf('none', 2, 0), planner, faults: ['cancel', 'lostAnswer'] });
});

test('a pod of a StatefulSet', () => {
  const faults = ['people', 'cancel', 'refused', 'webhookDown', 'impatience', 'partition'] as const;
  expectSafe('Recreate, StatefulSet', { start: startOf('StatefulSet', 1, 0), planner, faults, ownerIsFaster: true });
});
