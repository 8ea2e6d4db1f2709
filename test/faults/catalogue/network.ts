import { kubectl, onNode } from '../../cluster/support/lab.ts';
import type { Fault } from '../fault.ts';
import { cutTransfer, labIsWhole, partition } from '../inject.ts';

export const network: Fault[] = [
  {
    name: 'connection between the agents cut while the archive is on its way',
    at: 'Shipping',
    memory: 256,
    inject: ({ destination }) => cutTransfer(destination, true),
    heal: ({ destination }) => cutTransfer(destination, false),
    lasts: 5000,
  },
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
  {
    name: 'destination dies for good while the target is restored, its Node is deleted',
    at: 'Restoring',
    inject: async ({ destination }) => {
      await partition(destination, true);
      // What ran there does not run any more.
      await onNode(
        destination,
        'sh',
        '-c',
        "pkill -KILL -x kubelet; pkill -KILL -x containerd; pkill -KILL -f '[c]ontainerd-shim'; pkill -KILL -x counter; true",
      );
    },
    heal: async ({ destination }) => {
      await kubectl('delete', 'node', destination, '--ignore-not-found', '--wait=false');
      await new Promise((resolve) => setTimeout(resolve, 15_000));
      await partition(destination, false);
      await labIsWhole();
    },
    lasts: 5000,
    expected: 'stayed',
    phase: 'Failed',
  },
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
