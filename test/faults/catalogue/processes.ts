import { service } from '../../cluster/support/lab.ts';
import type { Fault } from '../fault.ts';
import { killAll, killLeader, killPodferry, labIsWhole } from '../inject.ts';

/** Freezing is over before a program can be struck in it (it takes some 50 ms). */
const each = ['Preparing', 'Checkpointing', 'Shipping', 'Holding', 'Switching', 'Restoring', 'CleaningUp'] as const;

/** kill -9 of each process that takes part, at each phase in which it has one. Podferry's are started again by their kubelets, the others by the lab. */
const controller: Fault[] = each.map((at) => ({
  name: 'kill -9 of the controller that leads',
  at,
  inject: () => killLeader(),
}));

const sourceAgent: Fault[] = (['Freezing', ...each] as const).map((at) => ({
  name: "kill -9 of the source's agent",
  at,
  inject: ({ source }) => killPodferry(source, 'agent'),
}));

const destinationAgent: Fault[] = each.map((at) => ({
  name: "kill -9 of the destination's agent",
  at,
  inject: ({ destination }) => killPodferry(destination, 'agent'),
}));

const webhook: Fault[] = each.map((at) => ({
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

function deadAtEach(name: string, side: Parameters<typeof dead>[2], program: string, lasts = 3000): Fault[] {
  return each.map((at) => dead(name, at, side, program, lasts));
}

export const processes: Fault[] = [
  ...controller,
  { name: 'kill -9 of both controllers', at: 'Shipping', inject: () => killAll('controller') },
  ...sourceAgent,
  ...destinationAgent,
  ...webhook,
  ...deadAtEach("kill -9 of the source's kubelet", 'source', 'kubelet'),
  ...deadAtEach("kill -9 of the destination's kubelet", 'destination', 'kubelet'),
  ...deadAtEach("kill -9 of the source's containerd", 'source', 'containerd'),
  ...deadAtEach("kill -9 of the destination's containerd", 'destination', 'containerd'),
  ...deadAtEach('kill -9 of the API server', 'control', 'kube-apiserver', 4000),
  dead('API server down for longer than the lease of the freeze', 'Shipping', 'control', 'kube-apiserver', 20_000),
  ...each.map((at) => dead('kill -9 of the registry', at, 'control', 'registry', 3000, { transfer: 'Registry' })),
];
