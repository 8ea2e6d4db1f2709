import type { Container, Pod } from '../../api/pod.ts';
import { runningContainers } from '../../api/pod.ts';

/** core/v1 Probe, what of it decides when a container is killed. Times in seconds; defaults as in the API's reference. */
interface Probe {
  exec?: object;
  tcpSocket?: object;
  periodSeconds?: number;
  timeoutSeconds?: number;
  failureThreshold?: number;
}

/** What a resumed process gets to answer the next probe. Milliseconds. */
const margin = 1000;

/** A budget below this cannot hold even the smallest checkpoint. Milliseconds. */
export const smallestBudget = 2000;

/**
 * How long a pod may stay frozen until a liveness probe would have the kubelet kill a container, less what it needs to
 * answer again. Undefined when no probe bounds it. Milliseconds.
 *
 * The worst case: a probe is due at the moment of the freeze. A frozen process lets an HTTP or gRPC probe time out; a TCP
 * probe is answered by the kernel while the backlog has room, but is counted all the same; an exec probe errs with an
 * unknown result, which the kubelet does not count (run, Kubernetes 1.36).
 */
export function freezeBudget(pod: Pod): number | undefined {
  const budgets = runningContainers(pod).flatMap((container) => boundsOf(container));
  return budgets.length ? Math.min(...budgets) : undefined;
}

function boundsOf(container: Container): number[] {
  const probe = container.livenessProbe as Probe | undefined;
  if (!probe || probe.exec) return [];
  const { periodSeconds = 10, timeoutSeconds = 1, failureThreshold = 3 } = probe;
  return [((failureThreshold - 1) * periodSeconds + timeoutSeconds) * 1000 - margin];
}
