import { planMigration } from '../../src/plan/migration/index.ts';
import type { Weakness } from './controller.ts';
import type { Fault } from './faults.ts';
import { expectFound, expectSafe } from './report.ts';
import { startOf } from './start.ts';
import type { OwnerKind } from './world.ts';

/** What is wrong outside of the planner, as far as it was known when this was written (README.md): the search sees each. */
const known: [string, OwnerKind, Weakness[], Fault[], number, RegExp][] = [
  ['an agent that does not tell whose start it saw', 'none', ['started'], ['people'], 0, /never ran with the memory/],
  ['an agent that resumes processes that have ended', 'ReplicaSet', ['lost'], ['lost'], 1, /the memory is gone/],
  ['a late deletion by an old controller', 'none', ['late'], ['lostLead'], 1, /the memory is gone/],
  ['a late release by an old controller', 'ReplicaSet', ['late'], ['lostLead'], 1, /belongs to nobody/],
  ['a source given back while it is not Ready', 'ReplicaSet', ['cost'], ['webhookDown'], 1, /the memory is gone/],
  ['a target deleted by force, and an agent that does not tell', 'ReplicaSet', ['live'], ['force'], 1, /two copies run/],
];

test.each(known)('%s is found', (name, kind, asIs, faults, timers, problem) => {
  expectFound(`weakness: ${name}`, { start: startOf(kind, 1, timers), planner: planMigration, faults, asIs }, problem);
});

test('the order of the two reads does not matter any more, nor do calls that arrive late', () => {
  expectSafe('reads apart, lost lead', {
    start: startOf('ReplicaSet', 1, 1),
    planner: planMigration,
    faults: ['lostLead'],
    looksApart: true,
    settles: false,
  });
});
