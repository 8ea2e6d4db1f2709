import { reasons } from '../../api/reasons.ts';
import type { Action, Observation, Plan } from './observation.ts';
import { end, statusOf, wait } from './progress.ts';
import { targetRequest } from './requests.ts';
import { failureOf } from './roll-back.ts';
import { removal, removalOfPlaceholder } from './switch-over.ts';

/**
 * CleaningUp: the target is the pod now. It must not come back with old memory when it crashes, so the destination goes
 * first; then the source, which is frozen, is removed; its archives last.
 */
export function cleanUp(observation: Observation): Plan {
  const { sourcePod, destination, source } = observation;
  const status = statusOf(observation);
  const targetNode = status.target?.nodeName ?? '';
  const sourceNode = status.source?.nodeName ?? '';
  const target = `pod ${status.target?.name}`;
  const actions = removalOfPlaceholder(observation);
  const go = (message: string, action: Action, requeueAfter = 1000) =>
    wait(observation, reasons.committed, `${target} runs; ${message}`, { actions: [...actions, action], requeueAfter });

  if (!destination?.reachable && observation.destinationNode) {
    const message =
      `${target} was restored, and the agent on node ${targetNode} has to put the base image in place of the checkpoint, but does not answer. ` +
      `Bring node ${targetNode} back, or, when it is certain that it is off: kubectl delete node ${targetNode}`;
    return wait(observation, reasons.destinationUnreachable, message, { actions, requeueAfter: 1000, stalled: true });
  }
  if (destination?.reachable && destination.view.state !== 'Committed' && destination.view.state !== 'Unknown') {
    return go('cleaning up', { type: 'setTarget', nodeName: targetNode, request: targetRequest(observation, 'Committed') });
  }
  // Under the switch kind Recreate the pod of that name is the target, told by its uid.
  const remains = sourcePod && sourcePod.metadata.uid === status.source?.uid ? sourcePod : undefined;
  if (remains) return go(`removing the source on node ${sourceNode}`, removal(remains));
  if (!source?.reachable && observation.sourceNode) {
    const message =
      `${target} runs; the archives on node ${sourceNode} are removed when its agent answers. ` +
      `Bring node ${sourceNode} back, or, when it is certain that it is off: kubectl delete node ${sourceNode}`;
    return wait(observation, reasons.sourceUnreachable, message, { actions, requeueAfter: 5000, stalled: true });
  }
  if (source?.reachable && source.view.state !== 'Unknown') {
    return go(`removing the archives on node ${sourceNode}`, { type: 'forgetSource', nodeName: sourceNode });
  }
  const { failedDestination } = status;
  if (failedDestination && observation.failedDestination?.reachable && observation.failedDestination.view.state !== 'Unknown') {
    return go(`removing the archives on node ${failedDestination}`, { type: 'forgetTarget', nodeName: failedDestination });
  }
  if (actions.length) return wait(observation, reasons.committed, 'removing the placeholder', { actions, requeueAfter: 1000 });
  return status.failure ? returned(observation) : succeeded(observation);
}

function succeeded(observation: Observation): Plan {
  const { source, target, downtimeMilliseconds } = statusOf(observation);
  const took = downtimeMilliseconds === undefined ? '' : `, stopped for ${downtimeMilliseconds} ms`;
  const message = `pod ${source?.name} moved from node ${source?.nodeName} to node ${target?.nodeName} as pod ${target?.name}${took}`;
  return end(observation, 'Succeeded', {}, { type: 'Normal', reason: reasons.succeeded, message });
}

/** The target failed, and the pod is back on its origin with its memory. */
function returned(observation: Observation): Plan {
  const { source } = statusOf(observation);
  const { reason, message } = failureOf(observation);
  const state = `pod ${source?.name} runs again on node ${source?.nodeName}, restored from its archive`;
  return end(observation, 'Failed', {}, { type: 'Warning', reason, message: `${message} (${state})` });
}
