import { isFinished } from '../../../src/api/migration.ts';
import { kubectl } from '../../cluster/support/lab.ts';
import { until } from '../../cluster/support/until.ts';
import type { Fault } from '../fault.ts';
import { breakTransfer, endAll, labIsWhole, mendTransfer, partition, skewControllers, unskewControllers } from '../inject.ts';

/** A node is off for good, and whoever knows that deletes its Node. */
function dead(side: 'source' | 'destination', at: Fault['at'], more: Partial<Fault>): Fault {
  return {
    name: `the ${side} dies for good, and its Node is deleted`,
    at,
    inject: async (trial) => {
      await partition(trial[side], true);
      await endAll(trial[side]);
    },
    heal: async (trial) => {
      await kubectl('delete', 'node', trial[side], '--ignore-not-found', '--wait=false');
      // It does not come back while it matters; for the next trial it has to.
      await until('the migration ends', async () => (isFinished(await trial.space.migration('move')) ? true : undefined), 120_000).catch(
        () => undefined,
      );
      await partition(trial[side], false);
      await labIsWhole();
    },
    lasts: 5000,
    ...more,
  };
}

/** Whatever depends on a network, a node or its clock. */
export const network: Fault[] = [
  ...(
    [
      ['drop', 'Shipping', 'connection between the agents cut while the archive is on its way'],
      ['reset', 'Shipping', 'connection between the agents reset while the archive is on its way'],
      ['damage', 'Checkpointing', 'bits of the archive flipped on its way'],
    ] as const
  ).map(
    ([how, at, name]): Fault => ({
      name,
      at,
      memory: 256,
      inject: ({ destination }) => breakTransfer(destination, how),
      heal: ({ destination }) => mendTransfer(destination),
      lasts: 5000,
    }),
  ),
  ...(['Shipping', 'Restoring'] as const).map(
    (at): Fault => ({
      name: 'destination cut off from everybody for 25 s',
      at,
      inject: ({ destination }) => partition(destination, true),
      heal: ({ destination }) => partition(destination, false),
      lasts: 25_000,
    }),
  ),
  ...(['Shipping', 'Restoring'] as const).map(
    (at): Fault => ({
      name: 'source cut off from everybody for 25 s',
      at,
      inject: ({ source }) => partition(source, true),
      heal: ({ source }) => partition(source, false),
      lasts: 25_000,
    }),
  ),
  dead('destination', 'Restoring', { expected: 'stayed', phase: 'Failed' }),
  dead('source', 'Restoring', { expected: 'moved', phase: 'Succeeded' }),
  dead('source', 'Shipping', { kinds: ['Deployment', 'StatefulSet'], expected: 'fresh', phase: 'Failed' }),
  dead('source', 'Shipping', { kinds: ['Pod'], expected: 'gone', phase: 'Failed' }),
  ...[600, -60].map(
    (seconds): Fault => ({
      name: `clocks of the controllers ${Math.abs(seconds)} s ${seconds > 0 ? 'ahead of' : 'behind'} those of the nodes`,
      at: 'Preparing',
      prepare: () => skewControllers(seconds),
      inject: async ({ space }) => {
        const accepted = Date.parse((await space.migration('move')).status?.steps?.accepted ?? '');
        const skew = (accepted - Date.now()) / 1000;
        if (!(Math.abs(skew - seconds) < 20)) throw new Error(`the clocks are ${skew} s apart, not ${seconds} s`);
      },
      heal: () => unskewControllers(),
      lasts: 8000,
      expected: 'moved',
      phase: 'Succeeded',
    }),
  ),
  {
    name: 'destination cordoned',
    at: 'Shipping',
    inject: async ({ destination }) => {
      await kubectl('cordon', destination);
    },
    heal: async ({ destination }) => {
      await kubectl('uncordon', destination);
    },
    lasts: 3000,
  },
  {
    name: 'destination drained',
    at: 'Restoring',
    kinds: ['Deployment', 'StatefulSet'],
    inject: async ({ destination }) => {
      await kubectl(
        'drain',
        destination,
        '--ignore-daemonsets',
        '--delete-emptydir-data',
        '--timeout=60s',
        '--pod-selector=app=counter',
      ).catch(() => undefined);
    },
    heal: async ({ destination }) => {
      await kubectl('uncordon', destination);
    },
    expected: 'fresh',
  },
];
