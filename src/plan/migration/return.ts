import { reasons } from '../../api/reasons.ts';
import type { Observation, Plan } from './observation.ts';
import { advance, end, rollBack, statusOf, wait } from './progress.ts';
import { arrival, sourceRequest, targetRequest } from './requests.ts';
import { failureOf } from './roll-back.ts';

/** Tries at the origin without a pause; after that a person is told, and it is tried now and then. */
const promptTries = 3;

/** Between tries when the prompt ones are used up. Milliseconds. */
const laterTries = 60_000;

/**
 * Returning: the pod's name was freed and its target failed, so the pod is restored where it came from. The origin's
 * agent ships the archives to itself and serves them to its own kubelet; from there on it is a switch like the first one.
 */
export function comeBack(observation: Observation): Plan {
  const { source, destination, sourceNode, migration, now } = observation;
  const status = statusOf(observation);
  const { name = '', nodeName = '' } = status.source ?? {};
  const archived = `pod ${name} does not run; its memory lies archived on ${placesOf(observation)}`;
  if (observation.namespaceTerminating || observation.ownerGone) {
    return rollBack(observation, failureOf(observation).reason, `${failureOf(observation).message}; whoever wanted pod ${name} is gone`);
  }
  if ((status.returns ?? 0) > promptTries) {
    if (migration.metadata.deletionTimestamp) return giveUp(observation);
    const since = Date.parse(status.conditions?.find(({ type }) => type === 'Stalled')?.lastTransitionTime ?? '');
    const left = Number.isNaN(since) ? laterTries : since + laterTries - now;
    if (left > 0) {
      return wait(
        observation,
        reasons.archived,
        `${archived}: it could not be restored on node ${nodeName} either (${status.returnFailure ?? 'the reason is not known'}). ` +
          `It is tried again every ${laterTries / 1000} s; to give the memory up: kubectl delete migration ${migration.metadata.name}`,
        { requeueAfter: left, stalled: true },
      );
    }
  }
  if (!source?.reachable || !destination?.reachable) {
    const gone = sourceNode ? `Bring node ${nodeName} back` : `node ${nodeName} was deleted`;
    return wait(
      observation,
      reasons.sourceUnreachable,
      `${archived}. ${gone}, or give the memory up: kubectl delete migration ${migration.metadata.name}`,
      {
        requeueAfter: 2000,
        stalled: true,
      },
    );
  }
  const { view } = destination;
  if (view.error || source.view.state !== 'Held') {
    const why = view.error?.message ?? `node ${nodeName} has lost the archives`;
    if (migration.metadata.deletionTimestamp) return giveUp(observation);
    return wait(observation, reasons.archived, `${archived}: ${why}`, { requeueAfter: 5000, stalled: true });
  }
  switch (view.state) {
    case 'Unknown':
    case 'Revoked':
    case 'Committed':
      return wait(observation, reasons.returning, `node ${nodeName} prepares to take pod ${name} back`, {
        actions: [
          view.state === 'Unknown'
            ? { type: 'setTarget', nodeName, request: targetRequest(observation, 'Prepared') }
            : { type: 'forgetTarget', nodeName },
        ],
        requeueAfter: 1000,
      });
    case 'Prepared':
    case 'Fetching':
      return wait(observation, reasons.returning, `the archives of pod ${name} are made ready on node ${nodeName}`, {
        actions: source.view.returning ? [] : [{ type: 'setSource', nodeName, request: sourceRequest(observation, 'Returned') }],
        waitFor: [
          { side: 'source', nodeName, revision: source.view.revision },
          { side: 'destination', nodeName, revision: view.revision },
        ],
        requeueAfter: 5000,
      });
    case 'Complete':
      return wait(observation, reasons.returning, `node ${nodeName} serves the checkpoint of pod ${name}`, {
        actions: [{ type: 'setTarget', nodeName, request: targetRequest(observation, 'Serving') }],
        requeueAfter: 1000,
      });
    case 'Serving':
      return advance(observation, 'Switching', arrival(observation), {
        step: 'held',
        reason: reasons.returning,
        message: `pod ${name} is created again on node ${nodeName}`,
      });
  }
}

function placesOf(observation: Observation): string {
  const { source, failedDestination } = statusOf(observation);
  return [source?.nodeName, failedDestination]
    .filter(Boolean)
    .map((node) => `node ${node}`)
    .join(' and ');
}

/** Somebody deleted the Migration of a pod that could not be brought back: that is the word to give its memory up. */
function giveUp(observation: Observation): Plan {
  const { reason, message } = failureOf(observation);
  const name = statusOf(observation).source?.name;
  return end(
    observation,
    'Failed',
    {},
    { type: 'Warning', reason, message: `${message} (pod ${name} was given up: its Migration was deleted)` },
  );
}
