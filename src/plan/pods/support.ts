import type { Container, Pod } from '../../api/pod.ts';
import { runningContainerStatuses, runningContainers } from '../../api/pod.ts';
import { type Reason, reasons } from '../../api/reasons.ts';

/** Why something is not done: a reason for machines, a sentence for people. */
export interface Refusal {
  reason: Reason;
  message: string;
}

const mirrorAnnotation = 'kubernetes.io/config.mirror';

/** Why a pod cannot migrate at all, whatever the destination, or undefined when it can. */
export function refusePod(pod: Pod): Refusal | undefined {
  const [problem] = problemsOf(pod);
  if (problem === undefined) return undefined;
  return { reason: reasons.podNotSupported, message: `pod ${pod.metadata.namespace}/${pod.metadata.name} ${problem}` };
}

/**
 * Everything that keeps a pod from migrating, whatever the destination; each as the rest of a sentence that begins with
 * the pod. What CRIU cannot carry (devices, host namespaces) is found here, before anything is touched, rather than
 * with the pod frozen.
 */
export function problemsOf(pod: Pod): string[] {
  const { spec } = pod;
  const problems: (string | undefined)[] = [
    ownerProblem(pod),
    isForWindows(pod) ? 'is for Windows: CRIU is for Linux' : undefined,
    spec.hostNetwork ? 'uses hostNetwork: its sockets and addresses belong to the node and cannot be restored on another' : undefined,
    spec.hostPID ? 'uses hostPID: its processes are numbered in the namespace of the node and cannot be restored on another' : undefined,
    spec.hostIPC ? 'uses hostIPC: its shared memory belongs to the node and cannot be restored on another' : undefined,
    spec.resourceClaims?.length ? 'uses resourceClaims: the state of devices cannot be checkpointed' : undefined,
    ...runningContainers(pod).flatMap((container) =>
      containerProblems(container).map((problem) => `has container ${container.name} that ${problem}`),
    ),
    ...writableHostPaths(pod).map(
      (volume) => `can write to the hostPath volume ${volume}: what it wrote stays on the node; mount it readOnly or use another volume`,
    ),
  ];
  return problems.filter((problem) => problem !== undefined);
}

/** Why a pod cannot migrate right now although it could at another time. */
export function refusePodNow(pod: Pod): Refusal | undefined {
  const name = `pod ${pod.metadata.namespace}/${pod.metadata.name}`;
  if (pod.metadata.deletionTimestamp) return { reason: reasons.podNotRunning, message: `${name} is being deleted` };
  if (pod.status?.phase !== 'Running' || !pod.spec.nodeName) {
    return {
      reason: reasons.podNotRunning,
      message: `${name} is ${pod.status?.phase ?? 'not scheduled'}; only a Running pod has a state to move`,
    };
  }
  const statuses = runningContainerStatuses(pod);
  const idle = runningContainers(pod).find((container) => !statuses.find((status) => status.name === container.name)?.state?.running);
  if (idle) return { reason: reasons.podNotRunning, message: `container ${idle.name} of ${name} is not running; all of them have to run` };
  const debugging = pod.status?.ephemeralContainerStatuses?.find((status) => status.state?.running);
  if (debugging) {
    return {
      reason: reasons.podNotSupported,
      message: `ephemeral container ${debugging.name} of ${name} runs (kubectl debug); it cannot be moved: end it, or wait until it has ended`,
    };
  }
  return undefined;
}

/** Why a pod belongs to its node, so that `kubectl drain --ignore-daemonsets` leaves it there; undefined of others. */
export function whyBound(pod: Pod): string | undefined {
  if (pod.metadata.annotations?.[mirrorAnnotation] !== undefined)
    return 'is a static pod: it belongs to its node (a file in the manifest directory of the kubelet) and cannot run on another';
  const owner = controllerOf(pod);
  if (owner?.kind === 'DaemonSet') return `belongs to DaemonSet ${owner.name}: every node has its own, it cannot move to another`;
  if (owner?.kind === 'Node') return 'is a static pod: it belongs to its node and cannot run on another';
  return undefined;
}

const ownerKinds = new Set(['ReplicaSet', 'ReplicationController', 'Job', 'StatefulSet']);

/** The owner that controls the pod, if any. */
export function controllerOf(pod: Pod) {
  return pod.metadata.ownerReferences?.find((owner) => owner.controller);
}

function ownerProblem(pod: Pod): string | undefined {
  const bound = whyBound(pod);
  if (bound !== undefined) return bound;
  const owner = controllerOf(pod);
  if (owner && !ownerKinds.has(owner.kind))
    return `is controlled by ${owner.kind} ${owner.name}; podferry knows how to hand over pods of ReplicaSets, ReplicationControllers, Jobs and StatefulSets, and pods without an owner`;
  return undefined;
}

function isForWindows({ spec }: Pod): boolean {
  return (spec.os?.name ?? spec.nodeSelector?.['kubernetes.io/os']) === 'windows';
}

function containerProblems(container: Container): string[] {
  const problems = Object.keys(container.resources?.limits ?? {})
    .filter(isDevice)
    .map((device) => `uses the device ${device}, whose state cannot be checkpointed`);
  if (container.securityContext?.privileged)
    problems.push('is privileged: it may hold devices and mounts of the node, which cannot be checkpointed');
  if (container.volumeDevices?.length) problems.push('uses block devices, which cannot be checkpointed');
  if (container.tty) problems.push('has a terminal (tty: true), which cannot be restored');
  return problems;
}

/** Extended resources have a domain that is not Kubernetes' own; hugepages-* have none and are memory. */
function isDevice(resource: string): boolean {
  return resource.includes('/') && !resource.includes('kubernetes.io/');
}

function writableHostPaths(pod: Pod): string[] {
  const hostPaths = new Set((pod.spec.volumes ?? []).filter((volume) => volume.hostPath).map((volume) => volume.name));
  const written = runningContainers(pod).flatMap(({ volumeMounts = [] }) =>
    volumeMounts.filter(({ name, readOnly }) => hostPaths.has(name) && !readOnly).map(({ name }) => name),
  );
  return [...new Set(written)];
}
