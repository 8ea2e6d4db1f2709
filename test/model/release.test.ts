import { planMigration } from '../../src/plan/migration/index.ts';
import { allFaults } from './faults.ts';
import { expectSafe } from './report.ts';
import { startOf } from './start.ts';

const planner = planMigration;

test('a pod of a ReplicaSet, any one fault', () => {
  expectSafe('Release, all kinds', { start: startOf('ReplicaSet', 1, 1), planner, faults: allFaults });
});

test('a pod of a ReplicaSet, two faults that make it turn back', () => {
  expectSafe('Release, two of restore, cancel, refused', {
    start: startOf('ReplicaSet', 2, 0),
    planner,
    faults: ['restore', 'cancel', 'refused'],
  });
});

test('a pod of a ReplicaSet whose target somebody deletes by force', () => {
  expectSafe('Release, force', { start: startOf('ReplicaSet', 1, 1), planner, faults: ['force'] });
});

test('two pods of one ReplicaSet at once', () => {
  expectSafe('Release, two migrations', { start: startOf('ReplicaSet', 0, 0, 2), planner, faults: [], limit: 400_000 });
});
