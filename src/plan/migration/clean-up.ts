import { reasons } from '../../api/reasons.ts';
import type { Action, Observation, Plan } from './observation.ts';
import { end, statusOf, wait } from './progress.ts';
import { targetRequest } from './requests.ts';
import { removal } from './switch-over.ts';

/**
 * CleaningUp: the target is the pod now. It must not come back with old memory when it crashes, so the destination goes
 * first; then the source, which is frozen, is removed; its archives last.
 */
export function cleanUp(observation: Observation): Plan {
  const { sourcePod, placeholder, destination, source } = observation;
  const status = statusOf(observation);
  const targetNode = status.target?.nodeName ?? '';
  const sourceNode = status.source?.nodeName ?? '';
  const actions: Action[] = [];
  if (placeholder && !placeholder.metadata.deletionTimestamp) actions.push(removal(placeholder));
  if (!destination?.reachable) {
    return wait(
      observation,
      reasons.committed,
      `pod ${status.target?.name} runs; waiting for the agent on node ${targetNode} to put the base image in place of the checkpoint`,
      { actions, requeueAfter: 1000 },
    );
  }
  if (destination.view.state !== 'Committed') {
    return wait(observation, reasons.committed, `pod ${status.target?.name} runs; cleaning up`, {
      actions: [...actions, { type: 'setTarget', nodeName: targetNode, request: targetRequest(observation, 'Committed') }],
      requeueAfter: 1000,
    });
  }
  // Under the switch kind Recreate the pod of that name is the target, told by its uid.
  const remains = sourcePod && sourcePod.metadata.uid === status.source?.uid ? sourcePod : undefined;
  if (remains) {
    return wait(observation, reasons.committed, `pod ${status.target?.name} runs; removing the source on node ${sourceNode}`, {
      actions: [...actions, { type: 'deletePod', name: remains.metadata.name, uid: remains.metadata.uid ?? '', gracePeriodSeconds: 0 }],
      requeueAfter: 1000,
    });
  }
  if (!source?.reachable) {
    return wait(
      observation,
      reasons.sourceUnreachable,
      `pod ${status.target?.name} runs; the archives on node ${sourceNode} are removed when its agent answers`,
      { actions, requeueAfter: 5000 },
    );
  }
  if (source.view.state !== 'Unknown') {
    return wait(observation, reasons.committed, `pod ${status.target?.name} runs; removing the archives on node ${sourceNode}`, {
      actions: [...actions, { type: 'forgetSource', nodeName: sourceNode }],
      requeueAfter: 1000,
    });
  }
  if (actions.length) return wait(observation, reasons.committed, 'removing the placeholder', { actions, requeueAfter: 1000 });
  const took = status.downtimeMilliseconds === undefined ? '' : `, stopped for ${status.downtimeMilliseconds} ms`;
  return end(
    observation,
    'Succeeded',
    {},
    {
      type: 'Normal',
      reason: reasons.succeeded,
      message: `pod ${status.source?.name} moved from node ${sourceNode} to node ${targetNode} as pod ${status.target?.name}${took}`,
    },
  );
}
