import { timeoutsOf } from '../../api/migration.ts';
import { internalAnnotations, labels, roles } from '../../api/names.ts';
import type { Pod } from '../../api/pod.ts';
import { reasons } from '../../api/reasons.ts';
import { controllerOf } from '../pods/support.ts';
import type { Action, Observation, Plan } from './observation.ts';
import { destinationGone } from './prepare.ts';
import { advance, rollBack, statusOf, timeLeft, wait } from './progress.ts';

/** Switching: the source, frozen for good, makes room; the pod that appears under the target's name is the target. */
export function switchOver(observation: Observation): Plan {
  const { migration, targetPod, sourcePod } = observation;
  const status = statusOf(observation);
  const { source, target } = status;
  if (!source || !target?.name) return rollBack(observation, reasons.targetNotCreated, 'the status lost its source or target');
  if (targetPod && isTarget(observation, targetPod)) {
    return advance(
      observation,
      'Restoring',
      { target: { ...target, uid: targetPod.metadata.uid ?? '' } },
      { step: 'created', reason: reasons.restoring, message: `pod ${target.name} is restored on node ${target.nodeName}` },
    );
  }
  const gone = destinationGone(observation);
  if (gone) return rollBack(observation, gone.reason, gone.message);
  // A pod on its way back is not stopped by what made it turn back.
  if (migration.metadata.deletionTimestamp && !isReturn(observation))
    return rollBack(observation, reasons.cancelled, 'the Migration was deleted');
  const { switchSeconds } = timeoutsOf(migration);
  const left = timeLeft(observation, 'held', switchSeconds);
  if (left <= 0) {
    return rollBack(
      observation,
      reasons.targetNotCreated,
      `pod ${target.name} was not created within ${switchSeconds} s; ${whyNot(status.switchKind, source.owner?.kind)}`,
    );
  }
  return wait(observation, reasons.switching, `waiting for pod ${target.name} to be created`, {
    // What is created needs its room, and what rolls back does not.
    meanwhile: removalOfPlaceholder(observation),
    actions: makeRoom(observation, sourcePod),
    requeueAfter: left,
  });
}

function makeRoom(observation: Observation, sourcePod: Pod | undefined): Action[] {
  const { migration, targetPod } = observation;
  const { source, switchKind } = statusOf(observation);
  if (!source) return [];
  const present = sourcePod?.metadata.uid === source.uid ? sourcePod : undefined;
  if (targetPod && isStray(observation, targetPod)) return [removal(targetPod)];
  switch (switchKind) {
    case 'Release': {
      // On a return the frozen processes are gone, and their kubelet has begun the containers afresh: not what is wanted.
      if (present && isReturn(observation)) return [removal(present)];
      if (!present || present.metadata.labels?.[labels.role] === roles.source) return [];
      return [
        {
          type: 'releasePod',
          name: source.name,
          uid: source.uid,
          resourceVersion: present.metadata.resourceVersion ?? '',
          labels: Object.keys(present.metadata.labels ?? {}),
          add: { [labels.role]: roles.source, [labels.migration]: migration.metadata.name.slice(0, 63), [labels.managedBy]: 'podferry' },
        },
      ];
    }
    case 'Recreate': {
      if (present) return [{ ...removal(present), resourceVersion: present.metadata.resourceVersion ?? '' }, recreation(observation)];
      // Somebody else's pod under the name the memory needs is not ours to remove; this one waits until it goes, or rolls back.
      if (targetPod && (!source.owner || controllerOf(targetPod)?.uid !== source.owner.uid)) return [];
      // Its owner was faster than the webhook was up: a pod without the memory.
      if (targetPod)
        return [{ type: 'deletePod', name: targetPod.metadata.name, uid: targetPod.metadata.uid ?? '', gracePeriodSeconds: 0 }];
      return [recreation(observation)];
    }
    case 'Provided':
    case undefined:
      return [];
  }
}

/** The source's own manifest; the webhook makes the target of it as it does of an owner's. */
function recreation(observation: Observation): Action {
  const { migration } = observation;
  const manifest = statusOf(observation).source?.manifest as unknown as Pod;
  return {
    type: 'createPod',
    pod: {
      ...manifest,
      metadata: {
        ...manifest.metadata,
        annotations: { ...manifest.metadata.annotations, [internalAnnotations.migration]: migration.metadata.name },
      },
    },
  };
}

export function removal(pod: Pod): Extract<Action, { type: 'deletePod' }> {
  return { type: 'deletePod', name: pod.metadata.name, uid: pod.metadata.uid ?? '', gracePeriodSeconds: 0 };
}

/** Nothing where it is gone, or going, already. */
export function removalOfPlaceholder({ placeholder }: Observation): Action[] {
  return placeholder && !placeholder.metadata.deletionTimestamp ? [removal(placeholder)] : [];
}

/** Whether this switch brings the pod back to its origin. */
function isReturn(observation: Observation): boolean {
  const { failure, source, target } = statusOf(observation);
  return failure !== undefined && target?.nodeName === source?.nodeName;
}

/** Whether a pod is this migration's target: rewritten by the webhook for it and for this switch, not merely of that name. */
export function isTarget(observation: Observation, pod: Pod): boolean {
  return isMadeFor(observation, pod) && pod.spec.nodeName === statusOf(observation).target?.nodeName;
}

/**
 * A target of an earlier switch whose creation was under way when that was given up: it came too late to be served the
 * checkpoint, and has nothing but the name.
 */
function isStray(observation: Observation, pod: Pod): boolean {
  return isMadeFor(observation, pod) && !isTarget(observation, pod);
}

function isMadeFor({ migration }: Observation, pod: Pod): boolean {
  return pod.metadata.annotations?.[internalAnnotations.migrationUid] === migration.metadata.uid;
}

function whyNot(switchKind: string | undefined, ownerKind: string | undefined): string {
  if (switchKind === 'Provided') return 'delete the Migration and create the pod again to go on from a new checkpoint';
  return `see the events of its ${ownerKind ?? 'namespace'} (a quota or another webhook may refuse it) and whether podferry-webhook runs`;
}
