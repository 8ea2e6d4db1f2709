import { service } from '../../cluster/support/lab.ts';
import type { Fault } from '../fault.ts';
import { killAll, killLeader, killPodferry, labIsWhole } from '../inject.ts';

/** kill -9 of each process that takes part, at each phase in which it has one. Podferry's are started again by their kubelets, the others by the lab. */
const controller: Fault[] = (['Preparing', 'Checkpointing', 'Shipping', 'Holding', 'Switching', 'Restoring', 'CleaningUp'] as const).map(
  (at) => ({
    name: 'kill -9 of the controller that leads',
    at,
    inject: () => killLeader(),
  }),
);

const sourceAgent: Fault[] = (['Freezing', 'Checkpointing', 'Shipping', 'Holding', 'Restoring', 'CleaningUp'] as const).map((at) => ({
  name: "kill -9 of the source's agent",
  at,
  inject: ({ source }) => killPodferry(source, 'agent'),
}));

const destinationAgent: Fault[] = (['Preparing', 'Shipping', 'Switching', 'Restoring', 'CleaningUp'] as const).map((at) => ({
  name: "kill -9 of the destination's agent",
  at,
  inject: ({ destination }) => killPodferry(destination, 'agent'),
}));

const webhook: Fault[] = (['Preparing', 'Switching'] as const).map((at) => ({
  name: 'kill -9 of all webhooks',
  at,
  inject: () => killAll('webhook'),
}));

/** A program of the lab, dead for a while. */
function dead(
  name: string,
  at: Fault['at'],
  side: 'source' | 'destination' | 'control',
  program: string,
  lasts: number,
  more: Partial<Fault> = {},
): Fault {
  return {
    name,
    at,
    lasts,
    inject: async ({ source, destination }) => {
      await service({ source, destination, control: 'control' }[side], 'kill', program);
    },
    heal: () => labIsWhole(),
    ...more,
  };
}

export const processes: Fault[] = [
  ...controller,
  { name: 'kill -9 of both controllers', at: 'Shipping', inject: () => killAll('controller') },
  ...sourceAgent,
  ...destinationAgent,
  ...webhook,
  dead("kill -9 of the source's kubelet", 'Checkpointing', 'source', 'kubelet', 3000),
  dead("kill -9 of the source's kubelet", 'Switching', 'source', 'kubelet', 3000),
  dead("kill -9 of the destination's kubelet", 'Preparing', 'destination', 'kubelet', 3000),
  dead("kill -9 of the destination's kubelet", 'Restoring', 'destination', 'kubelet', 3000),
  dead("kill -9 of the source's containerd", 'Checkpointing', 'source', 'containerd', 3000),
  dead("kill -9 of the source's containerd", 'Restoring', 'source', 'containerd', 3000),
  dead("kill -9 of the destination's containerd", 'Shipping', 'destination', 'containerd', 3000),
  dead("kill -9 of the destination's containerd", 'Restoring', 'destination', 'containerd', 3000),
  dead('kill -9 of the API server', 'Shipping', 'control', 'kube-apiserver', 4000),
  dead('kill -9 of the API server', 'Switching', 'control', 'kube-apiserver', 4000),
  dead('kill -9 of the API server', 'Restoring', 'control', 'kube-apiserver', 4000),
  dead('API server down for longer than the lease of the freeze', 'Shipping', 'control', 'kube-apiserver', 20_000),
  dead('kill -9 of the registry', 'Shipping', 'control', 'registry', 3000, { transfer: 'Registry', expected: 'stayed', phase: 'Failed' }),
];
