import { isFinished, type Migration } from '../api/migration.ts';
import type { Node, Pod } from '../api/pod.ts';
import type { Observation, Settings } from '../plan/migration/index.ts';
import type { Agents } from './agents.ts';

/** Where what is observed comes from. Caches may lag; what a decision cannot do without is read freshly. */
export interface ObservePorts {
  getPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  node(name: string): Node | undefined;
  namespaceEnabled(namespace: string): boolean;
  /** Migrations of the namespace, from the cache. */
  migrations(namespace: string): Migration[];
  agents: Agents;
  settings: Settings;
  now(): number;
}

/** Phases in which the agents have no part (yet, or any more). */
const withoutAgents = new Set(['Pending', 'Succeeded', 'Failed']);

export function observer(ports: ObservePorts): (migration: Migration, signal: AbortSignal) => Promise<Observation> {
  return async (migration, signal) => {
    const { namespace = '', uid = '' } = migration.metadata;
    const { status, spec } = migration;
    const asksAgents = !withoutAgents.has(status?.phase ?? 'Pending');
    const sourceNode = status?.source?.nodeName;
    const targetNode = status?.target?.nodeName;
    const targetName = status?.target?.name;
    const [sourcePod, placeholder, separateTarget, source, destination] = await Promise.all([
      ports.getPod(namespace, spec.pod, signal),
      status?.placeholder ? ports.getPod(namespace, status.placeholder, signal) : undefined,
      targetName && targetName !== spec.pod ? ports.getPod(namespace, targetName, signal) : undefined,
      asksAgents && sourceNode ? ports.agents.source(sourceNode, uid, signal) : undefined,
      asksAgents && targetNode ? ports.agents.destination(targetNode, uid, signal) : undefined,
    ]);
    const nodeName = spec.destination?.nodeName ?? targetNode;
    return {
      now: ports.now(),
      migration,
      sourcePod,
      targetPod: targetName === spec.pod ? sourcePod : separateTarget,
      placeholder,
      earlierMigration: earlier(migration, ports.migrations(namespace)),
      namespaceEnabled: ports.namespaceEnabled(namespace),
      destinationNode: nodeName ? ports.node(nodeName) : undefined,
      source,
      destination,
      destinationAddress: targetNode ? ports.agents.addressOf(targetNode) : undefined,
      settings: ports.settings,
    };
  };
}

/** Of several migrations of one pod the one that began first goes on; before that, the oldest object. */
function earlier(migration: Migration, all: Migration[]): string | undefined {
  if (migration.status?.phase && migration.status.phase !== 'Pending') return undefined;
  const rivals = all.filter(
    (other) => other.spec.pod === migration.spec.pod && other.metadata.uid !== migration.metadata.uid && !isFinished(other),
  );
  const age = (candidate: Migration) =>
    `${candidate.status?.phase && candidate.status.phase !== 'Pending' ? 0 : 1}/${candidate.metadata.creationTimestamp}/${candidate.metadata.uid}`;
  return rivals.sort((left, right) => age(left).localeCompare(age(right))).find((rival) => age(rival) < age(migration))?.metadata.name;
}
