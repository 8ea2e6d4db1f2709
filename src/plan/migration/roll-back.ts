import { labels, roles } from '../../api/names.ts';
import { reasons } from '../../api/reasons.ts';
import type { Action, Observation, Plan } from './observation.ts';
import { end, statusOf, wait } from './progress.ts';
import { sourceRequest, targetRequest } from './requests.ts';
import { isTarget, removal } from './switch-over.ts';

/**
 * RollingBack: the target gone for certain first, then the source given back to its owner and resumed. In that order,
 * so that the memory never runs twice; each step waits for its evidence.
 */
export function undo(observation: Observation): Plan {
  const { sourcePod, placeholder } = observation;
  const status = statusOf(observation);
  const actions: Action[] = placeholder && !placeholder.metadata.deletionTimestamp ? [removal(placeholder)] : [];
  const target = undoTarget(observation, actions);
  if (target) return target;

  const present = sourcePod && sourcePod.metadata.uid === status.source?.uid ? sourcePod : undefined;
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
  if (actions.length) return wait(observation, reasons.rollingBack, 'removing the placeholder', { actions, requeueAfter: 1000 });
  const { reason, message } = status.failure ?? { reason: reasons.restoreFailed, message: 'unknown' };
  const state = present ? `pod ${status.source?.name} runs on on node ${status.source?.nodeName}` : `pod ${status.source?.name} is gone`;
  return end(observation, 'Failed', {}, { type: 'Warning', reason, message: `${message} (${state})` });
}

/** The target revoked, deleted and seen to be gone; the destination's record last. */
function undoTarget(observation: Observation, actions: Action[]): Plan | undefined {
  const { destination, targetPod } = observation;
  const status = statusOf(observation);
  const nodeName = status.target?.nodeName;
  if (!nodeName) return undefined;
  const target = targetPod && isTarget(observation, targetPod) ? targetPod : undefined;
  // Before the hold was written the target had no name, so nothing can have started from the checkpoint.
  const mayRun = status.target?.name !== undefined;
  if (!destination?.reachable) {
    if (!mayRun) return undefined;
    return wait(
      observation,
      reasons.destinationUnreachable,
      `node ${nodeName} does not answer, and the target may run there; pod ${status.source?.name} stays frozen on node ${status.source?.nodeName}. ` +
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
  if (destination.view.state !== 'Unknown') {
    return wait(observation, reasons.rollingBack, `removing the archives on node ${nodeName}`, {
      actions: [...actions, { type: 'forgetTarget', nodeName }],
      requeueAfter: 1000,
    });
  }
  return undefined;
}

function resume(observation: Observation, actions: Action[], present: boolean): Plan | undefined {
  const { source } = observation;
  const status = statusOf(observation);
  const nodeName = status.source?.nodeName ?? '';
  // Never asked to freeze: there is nothing to resume and no record to remove.
  if (!status.steps?.prepared) return undefined;
  if (!source?.reachable) {
    const held = status.steps?.held !== undefined;
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
  if (present && source.view.state !== 'Running') {
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
