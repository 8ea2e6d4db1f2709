import type { TargetRequest } from '../../src/api/agent.ts';
import { freshToken } from './api-server.ts';
import { migrationOf, type Node, type Process, type Step, type TargetRecord, type World, withTarget } from './world.ts';

/** The target's agent, as src/agent/target.ts and registry.ts are. */

const nodes: readonly Node[] = ['a', 'b'];

export function setTarget(world: World, m: number, node: Node, request: TargetRequest): World {
  const record = migrationOf(world, m).targets[node];
  const change = (next: Partial<TargetRecord>) => (record ? withTarget(world, m, node, { ...record, ...next }) : world);
  switch (request.goal) {
    case 'Prepared': {
      if (record) return world;
      const made: TargetRecord = {
        st: 'Prepared',
        token: freshToken(world, node),
        pod: request.pod ?? '',
        served: false,
        servedTo: '',
        started: '',
      };
      return withTarget(world, m, node, made);
    }
    case 'Serving':
      if (record?.st !== 'Complete' && record?.st !== 'Serving') return world;
      return change({ st: 'Serving', pod: request.pod ?? '', served: true });
    case 'Revoked':
      return record?.st === 'Committed' ? world : change({ st: 'Revoked' });
    case 'Committed':
      return change({ st: 'Committed' });
    case 'Complete':
      return world;
  }
}

export function forgetTarget(world: World, m: number, node: Node): World {
  return withTarget(world, m, node, null);
}

/** What the kubelet of the node gets under the tag `restore`: the checkpoint, the base image, or nothing. */
export function pull(world: World, m: number, node: Node, token: string, uid: string): 'cp' | 'base' | undefined {
  const { power, agent } = world.nodes[node];
  const record = migrationOf(world, m).targets[node];
  if (!power || !agent || record?.token !== token) return undefined;
  if (record.st === 'Serving') {
    if (record.started) return 'base';
    return record.servedTo === '' || record.servedTo === uid ? 'cp' : undefined;
  }
  return record.st === 'Committed' ? 'base' : undefined;
}

/** It is remembered whom the checkpoint was handed to. */
export function handedTo(world: World, m: number, node: Node, uid: string): World {
  const record = migrationOf(world, m).targets[node];
  return record ? withTarget(world, m, node, { ...record, servedTo: record.servedTo || uid }) : world;
}

/** Repository whose target a container is taken for when it starts now: by its pod's name and its image's. */
export function servingFor(world: World, { node, name, token }: Process): string {
  const found = world.migs.some(({ targets }) => targets[node]?.served && targets[node].pod === name && targets[node].token === token);
  return found ? token : '';
}

/** The agent sees containers start; at once, or later when it was down. */
export function targetAgentSteps(world: World): Step[] {
  return nodes.flatMap((node) => {
    const { power, agent } = world.nodes[node];
    if (!power || !agent) return [];
    return world.migs.flatMap(({ targets }, m) => {
      const record = targets[node];
      if (!record || record.started || record.st === 'Committed') return [];
      const seen = world.procs.find(({ during, st, node: on }) => on === node && st === 'run' && during === record.token);
      if (!seen) return [];
      return [
        {
          label: `agent on node ${node}: sees the container of ${seen.uid} start`,
          world: withTarget(world, m, node, { ...record, started: seen.uid }),
        },
      ];
    });
  });
}
