import { timeoutsOf } from '../../api/migration.ts';
import type { Pod } from '../../api/pod.ts';
import { reasons } from '../../api/reasons.ts';
import { architectureLabel, leftOutWords } from '../pods/cpu.ts';
import { placeholderPod } from '../pods/placeholder.ts';
import { type Refusal, refusePodNow } from '../pods/support.ts';
import { refuseCpu } from './accept.ts';
import type { Observation, Plan } from './observation.ts';
import { advance, rollBack, statusOf, timeLeft, wait } from './progress.ts';
import { targetRequest } from './requests.ts';

/** Preparing: find the room, get the base images there, have the destination's agent ready. The source runs on. */
export function prepare(observation: Observation): Plan {
  const { migration, placeholder, destination, settings } = observation;
  const gone = sourceChanged(observation);
  if (gone) return rollBack(observation, gone.reason, gone.message);
  const left = timeLeft(observation, 'accepted', timeoutsOf(migration).prepareSeconds);

  if (!placeholder && left <= 0) {
    return rollBack(
      observation,
      reasons.placeholderRejected,
      'the pod that holds the room could not be created in time (a quota or another webhook may refuse it)',
    );
  }
  if (!placeholder) {
    const pod = placeholderPod(migration, observation.sourcePod as Pod, settings.placeholderImage, {
      architecture: observation.sourceNode?.metadata.labels?.[architectureLabel],
      lacking: observation.cpus.lacking,
    });
    return wait(observation, reasons.choosingDestination, 'making room on the destination', {
      status: { ...statusOf(observation), placeholder: pod.metadata.name },
      actions: [{ type: 'createPod', pod }],
      requeueAfter: left,
    });
  }
  const problem = placeholderProblem(observation, placeholder);
  if (problem?.final || (problem && left <= 0)) return rollBack(observation, problem.reason, problem.message);
  if (problem) return wait(observation, problem.reason, problem.message, { requeueAfter: Math.min(left, problem.lookAgain ?? left) });
  const nodeName = placeholder.spec.nodeName;
  if (!nodeName || placeholder.status?.phase !== 'Running') {
    const message = nodeName ? `node ${nodeName} pulls the base images` : 'the scheduler looks for a node';
    if (left <= 0) return rollBack(observation, reasons.timedOut, `no destination was ready in time: ${message}`);
    return wait(observation, reasons.choosingDestination, message, { requeueAfter: left });
  }

  const current = statusOf(observation);
  if (current.target?.nodeName !== nodeName) {
    return wait(observation, reasons.choosingDestination, `node ${nodeName} has the room and the base images`, {
      status: { ...current, target: { nodeName } },
    });
  }
  // A node that was not known when the choice was made.
  const obstacle = refuseCpu(observation, current.source?.nodeName ?? '', nodeName);
  if (obstacle) return rollBack(observation, obstacle.reason, obstacle.message);
  if (!destination?.reachable) {
    const message = `podferry's agent on node ${nodeName} does not answer${destination ? `: ${destination.message}` : ' (no agent pod is ready there)'}`;
    if (left <= 0) return rollBack(observation, reasons.agentUnavailable, message);
    return wait(observation, reasons.agentUnavailable, message, { requeueAfter: Math.min(left, 1000) });
  }
  const { view } = destination;
  if (view.error) return rollBack(observation, reasons.baseImageUnavailable, view.error.message);
  if (view.state !== 'Prepared') {
    return wait(observation, reasons.choosingDestination, `the agent on node ${nodeName} prepares`, {
      actions: [{ type: 'setTarget', nodeName, request: targetRequest(observation, 'Prepared') }],
      requeueAfter: left,
    });
  }
  const { turn } = observation;
  if (turn && !turn.granted) return wait(observation, reasons.queued, `waiting for its turn: ${turn.why}`, { requeueAfter: 1000 });
  return advance(
    observation,
    'Freezing',
    {},
    { step: 'prepared', reason: reasons.prepared, message: `node ${nodeName} is ready to take the pod` },
  );
}

/** Whether the source is no longer what was accepted, or can no longer be moved. */
export function sourceChanged(observation: Observation): Refusal | undefined {
  const { migration, sourcePod } = observation;
  const source = statusOf(observation).source;
  if (migration.metadata.deletionTimestamp) return { reason: reasons.cancelled, message: 'the Migration was deleted' };
  if (!sourcePod || sourcePod.metadata.uid !== source?.uid) {
    return { reason: reasons.sourceChanged, message: `pod ${source?.name} was deleted or replaced by somebody else` };
  }
  return refusePodNow(sourcePod);
}

/** Whoever deletes a Node says that it is off, and its pods are about to be collected: nothing moves there any more. */
export function destinationGone(observation: Observation): Refusal | undefined {
  const { nodeName } = statusOf(observation).target ?? {};
  if (!nodeName || observation.destinationNode) return undefined;
  return { reason: reasons.destinationNotFound, message: `node ${nodeName} was deleted` };
}

const pullProblems = new Set(['ErrImagePull', 'ImagePullBackOff', 'RegistryUnavailable']);
const imageProblems = new Set([...pullProblems, 'InvalidImageName', 'ErrImageNeverPull']);

/**
 * How long a placeholder's failed pull may be a passing one: a kubelet tries again after 10 s, and its first try may have been without
 * the pod's pull secrets, when the API server's node authorizer did not know yet that they are the pod's. Milliseconds.
 */
const pullGrace = 15_000;

/** `lookAgain`: when it may be final, though nothing has changed. Milliseconds from now. */
function placeholderProblem(
  { migration, cpus, now }: Observation,
  placeholder: Pod,
): (Refusal & { final: boolean; lookAgain?: number }) | undefined {
  const named = migration.spec.destination?.nodeName;
  const scheduled = placeholder.status?.conditions?.find((condition) => condition.type === 'PodScheduled');
  if (scheduled?.status === 'False' && scheduled.reason === 'Unschedulable') {
    const leftOut = named ? undefined : leftOutWords(cpus.lacking);
    const message = [scheduled.message ?? 'the scheduler gives no reason', ...(leftOut ? [leftOut] : [])].join('; ');
    return {
      reason: reasons.destinationCannotTakePod,
      message: named ? `node ${named} cannot take the pod: ${message}` : `no node can take the pod: ${message}`,
      final: named !== undefined,
    };
  }
  if (placeholder.status?.phase === 'Failed') {
    return {
      reason: reasons.placeholderRejected,
      message: `node ${placeholder.spec.nodeName} rejected the placeholder: ${placeholder.status.reason} ${placeholder.status.message}`,
      final: true,
    };
  }
  for (const status of placeholder.status?.containerStatuses ?? []) {
    const waiting = status.state?.waiting;
    if (waiting?.reason && imageProblems.has(waiting.reason)) {
      const lookAgain = Date.parse(placeholder.metadata.creationTimestamp ?? '') + pullGrace - now;
      const passing = pullProblems.has(waiting.reason) && lookAgain > 0;
      return {
        reason: reasons.baseImageUnavailable,
        message: `node ${placeholder.spec.nodeName} cannot pull a base image: ${waiting.message ?? waiting.reason}`,
        final: !passing,
        ...(passing ? { lookAgain } : {}),
      };
    }
  }
  return undefined;
}
