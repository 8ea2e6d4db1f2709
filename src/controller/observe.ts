import { isFinished, type Migration, type MigrationStatus } from '../api/migration.ts';
import { internalAnnotations } from '../api/names.ts';
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
  /** Straight from the API server: whether a claim holds is no question for a cache. */
  getMigration(namespace: string, name: string, signal: AbortSignal): Promise<Migration | undefined>;
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
    // The agents first: a pod that an agent says it will not serve any more is either seen afterwards or was never begun.
    const [source, destination, failedDestination] = await Promise.all([
      asksAgents && sourceNode ? ports.agents.source(sourceNode, uid, signal) : undefined,
      asksAgents && targetNode ? ports.agents.destination(targetNode, uid, signal) : undefined,
      asksAgents && status?.failedDestination ? ports.agents.destination(status.failedDestination, uid, signal) : undefined,
    ]);
    const [sourcePod, placeholder, separateTarget, ownerExists] = await Promise.all([
      ports.getPod(namespace, spec.pod, signal),
      status?.placeholder ? ports.getPod(namespace, status.placeholder, signal) : undefined,
      targetName && targetName !== spec.pod ? ports.getPod(namespace, targetName, signal) : undefined,
      undoing.has(status?.phase ?? '') && owner ? ports.ownerExists(namespace, owner, signal) : true,
    ]);
    const nodeName = targetNode ?? spec.destination?.nodeName;
    return {
      now: ports.now(),
      migration,
      sourcePod,
      targetPod: targetName === spec.pod ? sourcePod : separateTarget,
      placeholder,
      rivalMigration: await rival(ports, migration, sourcePod, signal),
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

/** Whose claim the pod bears, when that is another Migration that is not finished. Only asked before a migration begins. */
async function rival(ports: ObservePorts, migration: Migration, pod: Pod | undefined, signal: AbortSignal): Promise<string | undefined> {
  const claim = pod?.metadata.annotations?.[internalAnnotations.claim];
  if (!claim || (migration.status?.phase ?? 'Pending') !== 'Pending') return undefined;
  const [name = '', uid] = claim.split('/');
  if (uid === migration.metadata.uid) return undefined;
  const holder = await ports.getMigration(migration.metadata.namespace ?? '', name, signal);
  return holder && holder.metadata.uid === uid && !isFinished(holder) ? name : undefined;
}
