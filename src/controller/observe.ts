import { isFinished, type Migration, type MigrationStatus } from '../api/migration.ts';
import type { Node, Pod } from '../api/pod.ts';
import type { Observation, Settings } from '../plan/migration/index.ts';
import type { Agents } from './agents.ts';

type Owner = NonNullable<NonNullable<MigrationStatus['source']>['owner']>;

/** Where what is observed comes from. Caches may lag; what a decision cannot do without is read freshly. */
export interface ObservePorts {
  getPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  node(name: string): Node | undefined;
  namespace(name: string): { enabled: boolean; terminating: boolean };
  /** Whether just that owner (uid) exists. */
  ownerExists(namespace: string, owner: Owner, signal: AbortSignal): Promise<boolean>;
  /** Migrations of the namespace, from the cache. */
  migrations(namespace: string): Migration[];
  agents: Agents;
  settings: Settings;
  now(): number;
}

/** Phases in which the agents have no part (yet, or any more). */
const withoutAgents = new Set(['Pending', 'Succeeded', 'Failed']);

/** Phases in which it matters whether the owner still wants the pod. */
const undoing = new Set<string>(['RollingBack', 'Returning']);

export function observer(ports: ObservePorts): (migration: Migration, signal: AbortSignal) => Promise<Observation> {
  return async (migration, signal) => {
    const { namespace = '', uid = '' } = migration.metadata;
    const { status, spec } = migration;
    const asksAgents = !withoutAgents.has(status?.phase ?? 'Pending');
    const sourceNode = status?.source?.nodeName;
    const targetNode = status?.target?.nodeName;
    const targetName = status?.target?.name;
    const owner = status?.source?.owner;
    const [sourcePod, placeholder, separateTarget, source, destination, failedDestination, ownerExists] = await Promise.all([
      ports.getPod(namespace, spec.pod, signal),
      status?.placeholder ? ports.getPod(namespace, status.placeholder, signal) : undefined,
      targetName && targetName !== spec.pod ? ports.getPod(namespace, targetName, signal) : undefined,
      asksAgents && sourceNode ? ports.agents.source(sourceNode, uid, signal) : undefined,
      asksAgents && targetNode ? ports.agents.destination(targetNode, uid, signal) : undefined,
      asksAgents && status?.failedDestination ? ports.agents.destination(status.failedDestination, uid, signal) : undefined,
      undoing.has(status?.phase ?? '') && owner ? ports.ownerExists(namespace, owner, signal) : true,
    ]);
    const nodeName = targetNode ?? spec.destination?.nodeName;
    return {
      now: ports.now(),
      migration,
      sourcePod,
      targetPod: targetName === spec.pod ? sourcePod : separateTarget,
      placeholder,
      earlierMigration: earlier(migration, ports.migrations(namespace)),
      namespaceEnabled: ports.namespace(namespace).enabled,
      namespaceTerminating: ports.namespace(namespace).terminating,
      ownerGone: !ownerExists,
      sourceNode: sourceNode ? ports.node(sourceNode) : undefined,
      destinationNode: nodeName ? ports.node(nodeName) : undefined,
      source,
      destination,
      failedDestination,
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
