import { isFinished, type Migration, type MigrationStatus, type Phase } from '../api/migration.ts';
import { internalAnnotations } from '../api/names.ts';
import type { Node, Pod } from '../api/pod.ts';
import type { KubeObject } from '../kube/types.ts';
import { type Observation, policyOf, type Settings } from '../plan/migration/index.ts';
import { whyComplete, whyUnwanted } from '../plan/pods/ownership.ts';
import type { Turn } from '../plan/policy/turns.ts';
import type { Admissions } from './admissions.ts';
import type { Agents } from './agents.ts';
import type { Cpus } from './cpus.ts';

type Owner = NonNullable<NonNullable<MigrationStatus['source']>['owner']>;

/** Where what is observed comes from. Caches may lag; what a decision cannot do without is read freshly. */
export interface ObservePorts {
  getPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  node(name: string): Node | undefined;
  namespace(name: string): { enabled: boolean; terminating: boolean };
  /** The object that bears the owner's name now. */
  getOwner(namespace: string, owner: Owner, signal: AbortSignal): Promise<KubeObject | undefined>;
  /** Straight from the API server. */
  podsOf(namespace: string, signal: AbortSignal): Promise<Pod[]>;
  /** Straight from the API server: whether a claim holds is no question for a cache. */
  getMigration(namespace: string, name: string, signal: AbortSignal): Promise<Migration | undefined>;
  /** Budgets that count the pod, as `namespace/name`, from a cache. */
  budgetsOf(pod: Pod): string[];
  admissions: Pick<Admissions, 'turnOf' | 'destinationTurnOf' | 'shareOf'>;
  agents: Agents;
  cpus: Pick<Cpus, 'of' | 'lacking'>;
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
    const asked = Promise.all([
      asksAgents && sourceNode ? ports.agents.source(sourceNode, uid, signal) : undefined,
      asksAgents && targetNode ? ports.agents.destination(targetNode, uid, signal) : undefined,
      asksAgents && status?.failedDestination ? ports.agents.destination(status.failedDestination, uid, signal) : undefined,
    ]);
    // The agents first, once there may be a target: a pod that an agent says it will not serve any more is either seen afterwards or was never begun.
    if (targetName) await asked;
    const [[source, destination, failedDestination], sourcePod, placeholder, separateTarget, refusal] = await Promise.all([
      asked,
      ports.getPod(namespace, spec.pod, signal),
      status?.placeholder ? ports.getPod(namespace, status.placeholder, signal) : undefined,
      targetName && targetName !== spec.pod ? ports.getPod(namespace, targetName, signal) : undefined,
      refusalOf(ports, migration, signal),
    ]);
    const nodeName = targetNode ?? spec.destination?.nodeName;
    const runsOn = sourceNode ?? sourcePod?.spec.nodeName;
    const budgets = sourcePod && policyOf(migration) !== undefined ? ports.budgetsOf(sourcePod) : [];
    return {
      now: ports.now(),
      migration,
      budgets,
      turn: turnOf(ports, migration, { budgets, sourcePod, placeholder }),
      bytesPerSecond: ports.admissions.shareOf(migration),
      sourcePod,
      targetPod: targetName === spec.pod ? sourcePod : separateTarget,
      placeholder,
      rivalMigration: await rival(ports, migration, sourcePod, signal),
      namespaceEnabled: ports.namespace(namespace).enabled,
      namespaceTerminating: ports.namespace(namespace).terminating,
      ...refusal,
      sourceNode: runsOn ? ports.node(runsOn) : undefined,
      cpus: await cpusOf(ports, status?.phase, runsOn, nodeName, signal),
      destinationNode: nodeName ? ports.node(nodeName) : undefined,
      source,
      destination,
      failedDestination,
      destinationAddress: targetNode ? ports.agents.addressOf(targetNode) : undefined,
      settings: ports.settings,
    };
  };
}

function turnOf(
  { admissions }: ObservePorts,
  migration: Migration,
  { budgets, sourcePod, placeholder }: Pick<Observation, 'budgets' | 'sourcePod' | 'placeholder'>,
): Turn | undefined {
  const { phase = 'Pending' } = migration.status ?? {};
  const chosen = placeholder?.spec.nodeName;
  if (phase === 'Pending') return admissions.turnOf(migration, budgets, sourcePod?.spec.nodeName);
  return phase === 'Preparing' && chosen ? admissions.destinationTurnOf(migration, chosen) : undefined;
}

/** Why the owner would not have the pod again, or not ask for it. */
async function refusalOf(
  ports: ObservePorts,
  { metadata: { namespace = '' }, spec, status }: Migration,
  signal: AbortSignal,
): Promise<Pick<Observation, 'unwanted' | 'complete'>> {
  const { phase = 'Pending', source, steps } = status ?? {};
  const owner = source?.owner;
  if (!undoing.has(phase) || !owner) return { unwanted: undefined, complete: undefined };
  const [found, pods] = await Promise.all([
    ports.getOwner(namespace, owner, signal),
    phase === 'Returning' ? ports.podsOf(namespace, signal) : undefined,
  ]);
  return {
    unwanted: whyUnwanted(owner, found, spec.pod),
    complete: pods && whyComplete(owner, found, pods, steps?.accepted ?? ''),
  };
}

/** Phases in which the destination is chosen, or checked. */
const choosing = new Set<string>(['Pending', 'Preparing']);

async function cpusOf(
  { cpus }: ObservePorts,
  phase: Phase = 'Pending',
  sourceNode: string | undefined,
  destinationNode: string | undefined,
  signal: AbortSignal,
): Promise<Observation['cpus']> {
  if (!choosing.has(phase) || !sourceNode) return { lacking: [] };
  const [source, destination] = await Promise.all([
    cpus.of(sourceNode, signal),
    destinationNode ? cpus.of(destinationNode, signal) : undefined,
  ]);
  return { source, destination, lacking: source ? cpus.lacking(source) : [] };
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
