import {
  cleansUpBeforeTheRestore,
  commitsTooEarly,
  doesNotWaitForTheDestination,
  resumesTooEarly,
  switchesWithoutHold,
} from './mutations.ts';
import { expectFound } from './report.ts';
import { startOf } from './start.ts';

test.each([
  ['switching without the hold', switchesWithoutHold, 0, 1, [], /two copies run/],
  ['resuming before the target is gone', resumesTooEarly, 0, 1, [], /two copies run/],
  ['resuming while the destination is cut off', doesNotWaitForTheDestination, 1, 0, ['partition', 'people'], /waits for ever/],
  ['cleaning up before the restore', cleansUpBeforeTheRestore, 0, 0, [], /the memory is gone/],
  ['committing before the restore', commitsTooEarly, 0, 0, [], /never ran with the memory|the memory is gone/],
] as const)('a planner broken by %s is caught', (name, planner, faults, timers, kinds, problem) => {
  expectFound(`mutation: ${name}`, { start: startOf('ReplicaSet', faults, timers), planner, faults: kinds }, problem);
});
