import { internalAnnotations, labels, roles } from '../../api/names.ts';
import type { Pod } from '../../api/pod.ts';
import { type Reason, reasons } from '../../api/reasons.ts';
import { claimOf } from './accept.ts';
import type { Action, Observation, Plan } from './observation.ts';
import { advance, end, statusOf, wait } from './progress.ts';
import { sourceRequest, targetRequest } from './requests.ts';
import { isTarget, removal, removalOfPlaceholder } from './switch-over.ts';

/**
 * RollingBack: the target gone for certain first, then the source given back to its owner and resumed. In that order,
 * so that the memory never runs twice; each step waits for its evidence. A source that cannot be resumed any more, since
 * its name had to be freed or its frozen processes are gone, returns from its archive (return.ts).
 */
export function undo(observation: Observation): Plan {
  const { sourcePod } = observation;
  const status = statusOf(observation);
  const actions = removalOfPlaceholder(observation);
  // A pod whose Node was deleted is only not collected yet: whoever deletes a Node says that it is off.
  const present = observation.sourceNode && sourcePod?.metadata.uid === status.source?.uid ? sourcePod : undefined;
  const returns = (!present || lostOf(observation) !== undefined) && canReturn(observation);
  const target = undoTarget(observation, actions, returns);
  if (target) return target;
  if (returns) return beginReturn(observation, actions);
  if (present && status.steps?.held && observation.unwanted) return removeOrphan(observation, present, observation.unwanted, actions);

  if (present && status.steps?.held && present.metadata.annotations?.[internalAnnotations.claim] === claimOf(observation.migration)) {
    // A leader that has lost its lease may still be about to release or delete it: from here on that fails.
    return wait(observation, reasons.rollingBack, `undoing what was decided on pod ${present.metadata.name}`, {
      actions: [...actions, { type: 'fencePod', name: present.metadata.name, uid: present.metadata.uid ?? '' }],
      requeueAfter: 1000,
    });
  }

  if (present && present.metadata.labels?.[labels.role] === roles.source) {
    return wait(observation, reasons.rollingBack, `giving pod ${status.source?.name} back to its owner`, {
      actions: [
        ...actions,
        {
          type: 'giveBackPod',
          name: present.metadata.name,
          uid: present.metadata.uid ?? '',
          labels: status.source?.labels ?? {},
          remove: [labels.role, labels.migration, labels.managedBy].filter((label) => !(label in (status.source?.labels ?? {}))),
        },
      ],
      requeueAfter: 1000,
    });
  }
  const resumed = resume(observation, actions, present !== undefined);
  if (resumed) return resumed;
  // Last: until the source runs again these may be the only whole archives that can be reached.
  const forgotten = forgetDestination(observation, actions);
  if (forgotten) return forgotten;
  if (actions.length) return wait(observation, reasons.rollingBack, 'removing the placeholder', { actions, requeueAfter: 1000 });
  const { reason, message } = failureOf(observation);
  const state = present
    ? `pod ${status.source?.name} runs on on node ${status.source?.nodeName}`
    : `pod ${status.source?.name} is gone, and its memory with it`;
  return end(observation, 'Failed', {}, { type: 'Warning', reason, message: `${message} (${state})` });
}

export function failureOf(observation: Observation): { reason: Reason; message: string } {
  return statusOf(observation).failure ?? { reason: reasons.restoreFailed, message: 'the migration failed' };
}

/**
 * Whether the pod lives on in its archives: they were made durable before the switch, and there still is somebody who
 * wants it. A namespace or an owner that goes takes its pods along, this one too. (Provided: only its creator could make
 * it again.)
 */
function canReturn(observation: Observation): boolean {
  const { switchKind, steps } = statusOf(observation);
  return switchKind !== 'Provided' && steps?.held !== undefined && !observation.namespaceTerminating && !observation.unwanted;
}

/** Why the frozen processes of the source are gone although its pod is there. */
function lostOf({ source }: Observation): string | undefined {
  return source?.reachable ? source.view.lost : undefined;
}

function beginReturn(observation: Observation, actions: Action[]): Plan {
  const status = statusOf(observation);
  const { name = '', nodeName: origin = '' } = status.source ?? {};
  const failed = status.target?.nodeName ?? '';
  return advance(
    observation,
    'Returning',
    {
      target: { nodeName: origin, name: status.target?.name ?? name },
      // A second try at the origin leaves the first destination, with its copy, where it is.
      ...(failed === origin ? {} : { failedDestination: failed }),
      returns: (status.returns ?? 0) + 1,
    },
    { reason: reasons.returning, message: `pod ${name} is restored on its origin, node ${origin}, from its archive` },
    { actions },
  );
}

/** Its owner was deleted, or scaled down: it would have gone with the others. */
function removeOrphan(observation: Observation, pod: Pod, why: string, actions: Action[]): Plan {
  return wait(observation, reasons.rollingBack, `${why}, so pod ${pod.metadata.name} is removed as its other pods were`, {
    actions: [...actions, removal(pod)],
    requeueAfter: 1000,
  });
}

/** The target revoked, deleted and seen to be gone. */
function undoTarget(observation: Observation, actions: Action[], keepsCopy: boolean): Plan | undefined {
  const { destination, targetPod, destinationNode } = observation;
  const status = statusOf(observation);
  const nodeName = status.target?.nodeName;
  if (!nodeName) return undefined;
  const target = targetPod && isTarget(observation, targetPod) ? targetPod : undefined;
  // Targets are made in the phase Switching only, so before `held` was written nothing can have started from the checkpoint.
  const mayRun = status.steps?.held !== undefined;
  if (!destination?.reachable) {
    if (!mayRun) return undefined;
    if (!destinationNode) {
      // Whoever deletes a Node says that it is off; what ran there does not run any more, nobody there confirms it.
      if (!target) return undefined;
      return wait(observation, reasons.rollingBack, `node ${nodeName} was deleted; removing target pod ${target.metadata.name}`, {
        actions: [...actions, removal(target)],
        requeueAfter: 1000,
      });
    }
    return wait(
      observation,
      reasons.destinationUnreachable,
      `node ${nodeName} does not answer, and the target may run there; pod ${status.source?.name} ${whereaboutsOf(observation)}. ` +
        `Bring node ${nodeName} back, or, when it is certain that it is off: kubectl delete node ${nodeName}`,
      { actions, requeueAfter: 5000, stalled: true },
    );
  }
  if (mayRun && destination.view.state !== 'Revoked' && destination.view.state !== 'Unknown') {
    return wait(observation, reasons.rollingBack, `node ${nodeName} takes the checkpoint back`, {
      actions: [...actions, { type: 'setTarget', nodeName, request: targetRequest(observation, 'Revoked') }],
      requeueAfter: 1000,
    });
  }
  if (target) {
    return wait(observation, reasons.rollingBack, `waiting for node ${nodeName} to remove target pod ${target.metadata.name}`, {
      // Not forced: the object goes when the kubelet has seen the containers end, and that is the evidence needed.
      actions: [...actions, ...(target.metadata.deletionTimestamp ? [] : [{ ...removal(target), gracePeriodSeconds: 1 } as Action])],
      requeueAfter: 5000,
    });
  }
  if (mayRun && destination.view.live) {
    return wait(observation, reasons.rollingBack, `waiting for node ${nodeName} to end the containers of pod ${status.target?.name}`, {
      actions,
      waitFor: [{ side: 'destination', nodeName, revision: destination.view.revision }],
      requeueAfter: 5000,
    });
  }
  // One more try at the origin begins with a new record there.
  return keepsCopy && nodeName === status.source?.nodeName ? forgetDestination(observation, actions) : undefined;
}

/** An agent that does not answer is swept when it does. */
function forgetDestination(observation: Observation, actions: Action[]): Plan | undefined {
  const { destination } = observation;
  const { nodeName = '' } = statusOf(observation).target ?? {};
  if (!destination?.reachable || destination.view.state === 'Unknown') return undefined;
  return wait(observation, reasons.rollingBack, `removing the archives on node ${nodeName}`, {
    actions: [...actions, { type: 'forgetTarget', nodeName }],
    requeueAfter: 1000,
  });
}

/** Where the state is while nothing runs, for messages. */
function whereaboutsOf({ sourcePod, migration }: Observation): string {
  const { source } = migration.status ?? {};
  return sourcePod?.metadata.uid === source?.uid ? `stays frozen on node ${source?.nodeName}` : `lies archived on node ${source?.nodeName}`;
}

function resume(observation: Observation, actions: Action[], present: boolean): Plan | undefined {
  const { source, sourceNode } = observation;
  const status = statusOf(observation);
  const nodeName = status.source?.nodeName ?? '';
  // Never asked to freeze: there is nothing to resume and no record to remove.
  if (!status.steps?.prepared) return undefined;
  if (!source?.reachable) {
    // Nothing is left to be resumed or removed there.
    if (!sourceNode) return undefined;
    // From the moment the target has a name its agent may have been told to hold.
    const held = status.target?.name !== undefined;
    return wait(
      observation,
      reasons.sourceUnreachable,
      held
        ? `node ${nodeName} does not answer; pod ${status.source?.name} stays frozen there until its agent does`
        : `node ${nodeName} does not answer; its agent resumes pod ${status.source?.name} by itself when the lease of the freeze runs out`,
      { actions, requeueAfter: 1000, stalled: true },
    );
  }
  if (source.view.state === 'Unknown') return undefined;
  if (present && source.view.state !== 'Running' && source.view.lost === undefined) {
    return wait(observation, reasons.rollingBack, `resuming pod ${status.source?.name} on node ${nodeName}`, {
      actions: [...actions, { type: 'setSource', nodeName, request: sourceRequest(observation, 'Resumed') }],
      requeueAfter: 1000,
    });
  }
  return wait(observation, reasons.rollingBack, `removing the archives on node ${nodeName}`, {
    actions: [...actions, { type: 'forgetSource', nodeName }],
    requeueAfter: 1000,
  });
}
