import type { TargetView } from '../../api/agent.ts';
import type { MigrationStatus } from '../../api/migration.ts';
import { timeoutsOf } from '../../api/migration.ts';
import type { Pod } from '../../api/pod.ts';
import { isReady, runningContainerStatuses } from '../../api/pod.ts';
import { reasons } from '../../api/reasons.ts';
import { explainCriu } from '../criu-advice.ts';
import type { Refusal } from '../pods/support.ts';
import type { Observation, Plan } from './observation.ts';
import { destinationGone } from './prepare.ts';
import { advance, microTime, rollBack, statusOf, timeLeft, wait } from './progress.ts';

/** Restoring: the target comes up. When it is what the source was, that is written down, and there is no way back. */
export function restore(observation: Observation): Plan {
  const { migration, targetPod, destination } = observation;
  const status = statusOf(observation);
  const { name = '', nodeName = '', uid } = status.target ?? {};
  if (!targetPod || targetPod.metadata.uid !== uid) {
    return rollBack(observation, reasons.restoreFailed, `target pod ${name} was deleted before it was restored`);
  }
  const failed = destinationGone(observation) ?? restoreProblem(targetPod, destination?.reachable ? destination.view : undefined);
  if (failed) return rollBack(observation, failed.reason, failed.message);
  if (destination?.reachable && destination.view.error) return rollBack(observation, reasons.restoreFailed, destination.view.error.message);
  // Its checkpoint is served once only: whatever runs in this pod now began from the base image.
  const other = destination?.reachable ? destination.view.containers.find(({ startedBy }) => startedBy && startedBy !== uid) : undefined;
  if (other) {
    const message = `container ${other.name} was restored in an earlier pod ${name} (uid ${other.startedBy}), which is gone`;
    return rollBack(observation, reasons.restoreFailed, message);
  }
  const { restoreSeconds } = timeoutsOf(migration);
  const left = timeLeft(observation, 'created', restoreSeconds);

  if (destination?.reachable && runsAsTheSourceDid(observation, targetPod, destination.view)) {
    const restored = lastStart(destination.view);
    const frozen = status.steps?.frozen ? Date.parse(status.steps.frozen) : undefined;
    const change: Partial<MigrationStatus> = {
      steps: { ...status.steps, ...(restored === undefined ? {} : { restored: microTime(restored) }) },
      ...(restored !== undefined && frozen !== undefined ? { downtimeMilliseconds: Math.max(0, restored - frozen) } : {}),
    };
    return advance(observation, 'CleaningUp', change, {
      step: 'committed',
      reason: reasons.committed,
      message: `pod ${name} runs on node ${nodeName} with the memory of pod ${status.source?.name}`,
    });
  }
  if (left <= 0) return rollBack(observation, reasons.restoreFailed, `target pod ${name} was not ready within ${restoreSeconds} s`);
  const plan: Partial<Plan> = { requeueAfter: Math.min(left, destination?.reachable ? left : 1000) };
  if (destination?.reachable) plan.waitFor = [{ side: 'destination', nodeName, revision: destination.view.revision }];
  return wait(observation, reasons.restoring, `restoring pod ${name} on node ${nodeName}`, plan);
}

function runsAsTheSourceDid(observation: Observation, pod: Pod, view: TargetView): boolean {
  if (!view.containers.every((container) => container.startedAt)) return false;
  if (pod.status?.phase === 'Succeeded') return true;
  const running = runningContainerStatuses(pod).every((status) => status.state?.running || status.state?.terminated?.exitCode === 0);
  const wasReady = statusOf(observation).source?.wasReady ?? true;
  return running && pod.status?.phase === 'Running' && (isReady(pod) || !wasReady);
}

function lastStart(view: TargetView): number | undefined {
  const times = view.containers.flatMap((container) => (container.startedAt ? [Date.parse(container.startedAt)] : []));
  return times.length ? Math.max(...times) : undefined;
}

/** What the kubelet says when the runtime could not restore, or when the restored process did not stay; and what CRIU wrote down, which its agent saw. */
function restoreProblem(pod: Pod, view: TargetView | undefined): Refusal | undefined {
  const explained = (container: string, words: string) => {
    const said = view?.containers.find((candidate) => candidate.name === container)?.restoreFailure;
    return explainCriu(said ? `${words}; CRIU: ${said}` : words);
  };
  const name = `target pod ${pod.metadata.name} on node ${pod.spec.nodeName}`;
  if (pod.metadata.deletionTimestamp) return { reason: reasons.restoreFailed, message: `${name} is being deleted by somebody else` };
  if (pod.status?.phase === 'Failed') {
    return { reason: reasons.restoreFailed, message: `${name} failed: ${pod.status.reason ?? ''} ${pod.status.message ?? ''}`.trim() };
  }
  for (const status of runningContainerStatuses(pod)) {
    const waiting = status.state?.waiting;
    if (waiting?.reason && restoreFailures.has(waiting.reason) && !passing.test(waiting.message ?? '')) {
      return {
        reason: reasons.restoreFailed,
        message: `${name}: container ${status.name} was not restored: ${explained(status.name, waiting.message ?? waiting.reason)}`,
      };
    }
    const ended = status.state?.terminated ?? status.lastState?.terminated;
    if ((status.restartCount ?? 0) > 0 || (ended && ended.exitCode !== 0)) {
      // The kubelet may have begun it again before anybody saw how the restore failed.
      const what = ended?.reason === 'StartError' ? 'was not restored' : 'ended right after the restore';
      return {
        reason: reasons.restoreFailed,
        message: `${name}: container ${status.name} ${what}: ${explained(status.name, ended?.message ?? ended?.reason ?? 'it was restarted')}`,
      };
    }
  }
  return undefined;
}

/** The agent that serves the checkpoint is just being started again; the kubelet pulls once more after some seconds. */
const passing = /connection refused|connection reset|unexpected EOF/;

const restoreFailures = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'CreateContainerError',
  'CreateContainerConfigError',
  'RunContainerError',
  'StartError',
  'CrashLoopBackOff',
]);
