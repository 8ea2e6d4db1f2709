import type { Migration, MigrationStatus, SwitchKind } from '../../api/migration.ts';
import { finalizer, internalAnnotations, labels, policyAnnotations } from '../../api/names.ts';
import type { Node, Pod } from '../../api/pod.ts';
import { isReady } from '../../api/pod.ts';
import { reasons } from '../../api/reasons.ts';
import { cpuObstacle } from '../pods/cpu.ts';
import { baseImages } from '../pods/images.ts';
import { freezeBudget, smallestBudget } from '../pods/probes.ts';
import { controllerOf, type Refusal, refusePod, refusePodNow } from '../pods/support.ts';
import { completionIndex, recreatable } from '../pods/target.ts';
import type { Observation, Plan } from './observation.ts';
import { advance, identityOf, refuse, statusOf, wait } from './progress.ts';

/** Pending: say no where it cannot be, else write down what is to be moved. Nothing is touched yet. */
export function accept(observation: Observation): Plan {
  const { migration, sourcePod } = observation;
  if (migration.metadata.deletionTimestamp) return refuse(observation, reasons.cancelled, 'the Migration was deleted before it began');
  const refusal = refuseMigration(observation);
  if (refusal) return refuse(observation, refusal.reason, refusal.message);
  // refuseMigration has seen the pod; the type does not know it.
  const pod = sourcePod as Pod;
  if (!migration.metadata.finalizers?.includes(finalizer)) return { actions: [{ type: 'addFinalizer' }] };

  const { turn, budgets } = observation;
  const policy = policyOf(migration);
  if (policy !== undefined && turn && !turn.granted) {
    return wait(observation, reasons.queued, `waiting for its turn (position ${turn.position}): ${turn.why}`, {
      status: { ...statusOf(observation), phase: 'Pending', policy, queuePosition: turn.position, budgets },
      requeueAfter: queueRound(turn.position),
    });
  }
  if (!isClaimed(observation, pod)) {
    return {
      actions: [
        { type: 'claimPod', name: pod.metadata.name, uid: pod.metadata.uid ?? '', resourceVersion: pod.metadata.resourceVersion ?? '' },
      ],
    };
  }

  const switchKind = switchKindOf(observation, pod);
  const owner = controllerOf(pod);
  const index = completionIndex(pod);
  const budget = freezeBudget(pod);
  const source: MigrationStatus['source'] = {
    name: pod.metadata.name,
    uid: pod.metadata.uid ?? '',
    nodeName: pod.spec.nodeName ?? '',
    wasReady: isReady(pod),
    ...(owner ? { owner: { apiVersion: owner.apiVersion, kind: owner.kind, name: owner.name, uid: owner.uid } } : {}),
    ...(switchKind === 'Release' ? { labels: pod.metadata.labels ?? {} } : {}),
    ...(switchKind === 'Recreate' ? { manifest: recreatable(pod) as unknown as Record<string, unknown> } : {}),
    ...(index === undefined ? {} : { completionIndex: index }),
  };
  const containers = baseImages(pod).map(({ name, image, baseImage }) => ({ name, image, baseImage }));
  const goal = migration.spec.destination?.nodeName ? `node ${migration.spec.destination.nodeName}` : 'a node that the scheduler chooses';
  const message = `pod ${pod.metadata.name} on node ${source.nodeName} is to move to ${goal}`;
  return advance(
    observation,
    'Preparing',
    {
      ...(policy === undefined ? {} : { policy, budgets }),
      queuePosition: undefined,
      switchKind,
      source,
      containers,
      attempts: (migration.status?.attempts ?? 0) + 1,
      ...(budget === undefined ? {} : { freezeBudgetMilliseconds: budget }),
    },
    { step: 'accepted', reason: reasons.accepted, message },
    {
      events: [
        { type: 'Normal', reason: reasons.migrating, message: `${message} (Migration ${migration.metadata.name})`, pod: identityOf(pod) },
      ],
    },
  );
}

/**
 * How often a migration that waits for its turn looks where it stands, unless it is woken: the less often the further back
 * it is, so that a long queue does not ask for more than a short one. Milliseconds.
 */
function queueRound(position: number): number {
  return Math.max(30_000, position * 300);
}

/** The policy that made a migration, if any. */
export function policyOf({ metadata }: Migration): string | undefined {
  return metadata.labels?.[labels.policy];
}

/** What the claim of a migration says on its pod. */
export function claimOf({ metadata }: Migration): string {
  return `${metadata.name}/${metadata.uid}`;
}

/** The claim of a migration that is rolled back; still a claim. */
export function fencedClaimOf(migration: Migration): string {
  return `${claimOf(migration)}/undone`;
}

export function isClaimed({ migration }: Observation, pod: Pod): boolean {
  const claim = pod.metadata.annotations?.[internalAnnotations.claim];
  return claim === claimOf(migration) || claim === fencedClaimOf(migration);
}

/** Why this migration cannot be, or undefined. */
export function refuseMigration(observation: Observation): Refusal | undefined {
  const { migration, sourcePod, rivalMigration, namespaceEnabled } = observation;
  const namespace = migration.metadata.namespace ?? '';
  if (!namespaceEnabled) {
    return {
      reason: reasons.namespaceNotEnabled,
      message: `namespace ${namespace} is not enabled for podferry: kubectl label namespace ${namespace} podferry.io/enabled=true`,
    };
  }
  const meant = migration.metadata.annotations?.[policyAnnotations.podUid];
  if (!sourcePod || (meant !== undefined && sourcePod.metadata.uid !== meant))
    return { reason: reasons.podNotFound, message: `there is no pod ${namespace}/${migration.spec.pod}` };
  if (rivalMigration) {
    return {
      reason: reasons.alreadyMigrating,
      message: `pod ${namespace}/${migration.spec.pod} is already moved by Migration ${rivalMigration}`,
    };
  }
  return (
    refusePod(sourcePod) ??
    refusePodNow(sourcePod) ??
    refuseBudget(sourcePod) ??
    refuseProvided(observation, sourcePod) ??
    refuseDestination(observation, sourcePod)
  );
}

/** Why a pod cannot be frozen for long enough. */
export function refuseBudget(pod: Pod): Refusal | undefined {
  const budget = freezeBudget(pod);
  if (budget === undefined || budget >= smallestBudget) return undefined;
  return {
    reason: reasons.freezeBudgetTooSmall,
    message:
      `pod ${pod.metadata.name} would be killed by its own liveness probe: it may be frozen for ${Math.max(0, budget)} ms, and a checkpoint needs ` +
      `at least ${smallestBudget} ms; give the probe a longer periodSeconds or a larger failureThreshold`,
  };
}

function refuseProvided({ migration }: Observation, pod: Pod): Refusal | undefined {
  const owner = controllerOf(pod);
  if (!migration.spec.targetPod || !owner) return undefined;
  return {
    reason: reasons.podNotSupported,
    message: `pod ${pod.metadata.name} belongs to ${owner.kind} ${owner.name}, which would replace it; annotate it with podferry.io/migrate-to instead of creating another pod`,
  };
}

function refuseDestination({ migration, sourceNode, destinationNode, cpus }: Observation, pod: Pod): Refusal | undefined {
  const name = migration.spec.destination?.nodeName;
  if (!name) return undefined;
  if (name === pod.spec.nodeName) return { reason: reasons.alreadyThere, message: `pod ${pod.metadata.name} already runs on node ${name}` };
  if (!destinationNode) return { reason: reasons.destinationNotFound, message: `there is no node ${name}` };
  return refuseNode(destinationNode) ?? refuseCpu({ sourceNode, destinationNode, cpus }, pod.spec.nodeName ?? '', name);
}

/** Why the processes could not go on on that node's CPU. */
export function refuseCpu(
  { sourceNode, destinationNode, cpus }: Pick<Observation, 'sourceNode' | 'destinationNode' | 'cpus'>,
  from: string,
  to: string,
): Refusal | undefined {
  const message = cpuObstacle(
    { name: from, node: sourceNode, cpu: cpus.source },
    { name: to, node: destinationNode, cpu: cpus.destination },
  );
  return message === undefined ? undefined : { reason: reasons.cpuIncompatible, message };
}

/** Why a node cannot be a destination now. */
export function refuseNode(node: Node): Refusal | undefined {
  const { name } = node.metadata;
  if (!isReady(node)) return { reason: reasons.destinationNotReady, message: `node ${name} is not Ready` };
  if (node.spec?.unschedulable) return { reason: reasons.destinationCannotTakePod, message: `node ${name} is cordoned` };
  return undefined;
}

function switchKindOf({ migration }: Observation, pod: Pod): SwitchKind {
  if (migration.spec.targetPod) return 'Provided';
  const kind = controllerOf(pod)?.kind;
  return kind === undefined || kind === 'StatefulSet' ? 'Recreate' : 'Release';
}
