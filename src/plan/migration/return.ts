import { type Reason, reasons } from '../../api/reasons.ts';
import type { Action, Observation, Plan } from './observation.ts';
import { advance, end, statusOf, wait } from './progress.ts';
import { arrival, sourceRequest, targetRequest } from './requests.ts';
import { failureOf } from './roll-back.ts';
import { removal } from './switch-over.ts';

/** Tries at the origin without a pause; after that a person is told, and it is tried now and then. */
const promptTries = 3;

/** Between tries when the prompt ones are used up. Milliseconds. */
const laterTries = 60_000;

/**
 * Returning: the pod's name was freed and its target failed, so the pod is restored where it came from. The origin's
 * agent ships the archives to itself and serves them to its own kubelet; from there on it is a switch like the first one.
 */
export function comeBack(observation: Observation): Plan {
  const { source, destination, sourceNode } = observation;
  const status = statusOf(observation);
  const { name = '', nodeName = '' } = status.source ?? {};
  // Its owner has had twice as long as it takes to ask for the pod again.
  const complete = (status.returns ?? 0) > 1 ? observation.complete : undefined;
  const unwanted = observation.namespaceTerminating ? 'its namespace was deleted' : (observation.unwanted ?? complete);
  if (unwanted) return giveUp(observation, unwanted);
  const remains = observation.sourcePod?.metadata.uid === status.source?.uid ? observation.sourcePod : undefined;
  if (remains) {
    // Before its owner has two of them, and a choice which to keep.
    return wait(observation, reasons.returning, `removing pod ${name}, whose frozen processes are gone; it is restored from its archive`, {
      actions: [removal(remains)],
      requeueAfter: 1000,
    });
  }
  const tired = pauseBetweenTries(observation);
  if (tired) return tired;
  if (!source?.reachable || !destination?.reachable) {
    const way = sourceNode ? `bring node ${nodeName} back` : `node ${nodeName} was deleted`;
    return stuck(observation, reasons.sourceUnreachable, `its agent on node ${nodeName} does not answer; ${way}`, 2000);
  }
  const { view } = destination;
  if (view.error) return stuck(observation, reasons.archived, view.error.message, 5000);
  if (source.view.state !== 'Held') return stuck(observation, reasons.archived, `node ${nodeName} has lost the archives`, 5000);
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
    case 'Fetching': {
      const { returning, returnFailure, revision } = source.view;
      const actions: Action[] = returning ? [] : [{ type: 'setSource', nodeName, request: sourceRequest(observation, 'Returned') }];
      if (returnFailure)
        return stuck(observation, reasons.archived, `node ${nodeName} could not use its archives: ${returnFailure}`, 5000, actions);
      return wait(observation, reasons.returning, `the archives of pod ${name} are made ready on node ${nodeName}`, {
        actions,
        waitFor: [
          { side: 'source', nodeName, revision },
          { side: 'destination', nodeName, revision: view.revision },
        ],
        requeueAfter: 5000,
      });
    }
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

/** After the prompt tries a person is told, and it is tried now and then. */
function pauseBetweenTries(observation: Observation): Plan | undefined {
  const { destination } = observation;
  const status = statusOf(observation);
  if ((status.returns ?? 0) <= promptTries) return undefined;
  // A try that has begun is not held up at each of its steps.
  if (destination?.reachable && destination.view.state !== 'Unknown') return undefined;
  const since = Date.parse(toldAt(observation) ?? '');
  const left = Number.isNaN(since) ? laterTries : since + laterTries - observation.now;
  if (left <= 0) return undefined;
  const why = status.returnFailure ?? 'the reason is not known';
  return stuck(
    observation,
    reasons.archived,
    `it could not be restored on node ${status.source?.nodeName} either (${why}); it is tried again every ${laterTries / 1000} s`,
    left,
  );
}

/** Nothing runs, the archives hold the memory: say where, why, and what can be done. */
function stuck(observation: Observation, reason: Reason, why: string, requeueAfter: number, actions: Action[] = []): Plan {
  const { source, failedDestination } = statusOf(observation);
  if (isGivenUp(observation)) return giveUp(observation, 'its Migration was deleted');
  const places = [source?.nodeName, failedDestination].filter(Boolean).map((node) => `node ${node}`);
  const message = `pod ${source?.name} does not run; its memory lies archived on ${places.join(' and ')}: ${why}, or give the memory up: ${giveUpCommand(observation)}`;
  return wait(observation, reason, message, { requeueAfter, stalled: true, actions });
}

/** Since when people are told that the pod cannot be brought back. */
function toldAt(observation: Observation): string | undefined {
  return statusOf(observation).conditions?.find(({ type, status }) => type === 'Stalled' && status === 'True')?.lastTransitionTime;
}

/**
 * Somebody deleted the Migration after it had said that the pod cannot be brought back: that is the word to give its
 * memory up. One that was deleted before that was cancelled, to have the pod where it was.
 */
function isGivenUp(observation: Observation): boolean {
  const { deletionTimestamp } = observation.migration.metadata;
  const told = toldAt(observation);
  return deletionTimestamp !== undefined && told !== undefined && Date.parse(deletionTimestamp) >= Date.parse(told);
}

/** A Migration can be deleted only once; after that its finalizer is what keeps it. */
function giveUpCommand({ migration }: Observation): string {
  const { name, deletionTimestamp } = migration.metadata;
  if (!deletionTimestamp) return `kubectl delete migration ${name}`;
  return `kubectl patch migration ${name} --type merge -p '{"metadata":{"finalizers":null}}'`;
}

/** Nobody wants the pod any more: the archives go, as far as their nodes answer (the others are swept when they do). */
function giveUp(observation: Observation, why: string): Plan {
  const { source, destination } = observation;
  const { source: from, failedDestination } = statusOf(observation);
  const actions: Action[] = [];
  const origin = from?.nodeName ?? '';
  if (source?.reachable && source.view.state !== 'Unknown') actions.push({ type: 'forgetSource', nodeName: origin });
  if (destination?.reachable && destination.view.state !== 'Unknown') actions.push({ type: 'forgetTarget', nodeName: origin });
  const failed = observation.failedDestination;
  if (failedDestination && failed?.reachable && failed.view.state !== 'Unknown')
    actions.push({ type: 'forgetTarget', nodeName: failedDestination });
  // What was said before stays said: it tells whether the Migration was deleted after it.
  const stalled = toldAt(observation) !== undefined;
  if (actions.length)
    return wait(observation, reasons.rollingBack, `removing the archives: ${why}`, { actions, requeueAfter: 1000, stalled });
  const { reason, message } = failureOf(observation);
  return end(observation, 'Failed', {}, { type: 'Warning', reason, message: `${message} (pod ${from?.name} was given up: ${why})` });
}
