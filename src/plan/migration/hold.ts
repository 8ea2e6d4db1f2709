import { timeoutsOf } from '../../api/migration.ts';
import { reasons } from '../../api/reasons.ts';
import type { Observation, Plan } from './observation.ts';
import { destinationGone, sourceChanged } from './prepare.ts';
import { advanceInto, rollBack, statusOf, timeLeft, wait } from './progress.ts';
import { sourceRequest, targetRequest } from './requests.ts';
import { switchOver } from './switch-over.ts';

/**
 * Holding: from here the source's agent never resumes the pod by itself, and the destination serves the checkpoint for
 * a target whose name is fixed now. Only when both have written that down does the switch begin.
 */
export function hold(observation: Observation): Plan {
  const { source, destination, settings } = observation;
  const status = statusOf(observation);
  const gone = sourceChanged(observation) ?? destinationGone(observation);
  if (gone) return rollBack(observation, gone.reason, gone.message);
  const nodeName = status.source?.nodeName ?? '';
  const targetNode = status.target?.nodeName ?? '';
  if (!status.target?.name) return rollBack(observation, reasons.holdFailed, "the status lost the target's name");
  const { switchSeconds } = timeoutsOf(observation.migration);
  const left = timeLeft(observation, 'shipped', switchSeconds);
  if (!source?.reachable) {
    // Its lease may have run out meanwhile, or it may be held already; a roll back waits to hear which, and says so.
    if (left <= 0) return rollBack(observation, reasons.timedOut, `the agent on node ${nodeName} did not answer within ${switchSeconds} s`);
    return wait(observation, reasons.sourceUnreachable, `waiting for the agent on node ${nodeName} to answer`, {
      requeueAfter: Math.min(left, 1000),
    });
  }
  if (source.view.state !== 'Shipped' && source.view.state !== 'Held') {
    return rollBack(
      observation,
      reasons.holdFailed,
      source.view.error?.message ?? `pod ${status.source?.name} was resumed on node ${nodeName} before the switch`,
    );
  }
  if (left <= 0) return rollBack(observation, reasons.timedOut, `the agents did not agree on the switch within ${switchSeconds} s`);
  if (!destination?.reachable) {
    return wait(observation, reasons.destinationUnreachable, `waiting for the agent on node ${targetNode} to answer`, {
      requeueAfter: Math.min(left, 1000),
    });
  }
  if (destination.view.state !== 'Complete' && destination.view.state !== 'Serving') {
    return rollBack(observation, reasons.shippingFailed, `node ${targetNode} has lost the archives`);
  }
  if (source.view.state !== 'Held' || destination.view.state !== 'Serving') {
    return wait(observation, reasons.switching, `holding pod ${status.source?.name} on node ${nodeName}`, {
      // A roll back undoes both, whatever phase it begins in; the target cannot be created before the next one is written.
      meanwhile: [
        { type: 'setSource', nodeName, request: sourceRequest(observation, 'Held') },
        { type: 'setTarget', nodeName: targetNode, request: targetRequest(observation, 'Serving') },
      ],
      requeueAfter: Math.min(left, settings.leaseMilliseconds / 3),
    });
  }
  return advanceInto(
    switchOver,
    observation,
    'Switching',
    {},
    { step: 'held', reason: reasons.switching, message: `switching to pod ${status.target.name} on node ${targetNode}` },
  );
}
