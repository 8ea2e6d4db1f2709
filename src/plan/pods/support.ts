import type { Container, Pod } from '../../api/pod.ts';
import { runningContainerStatuses, runningContainers } from '../../api/pod.ts';
import { type Reason, reasons } from '../../api/reasons.ts';

/** Why something is not done: a reason for machines, a sentence for people. */
export interface Refusal {
  reason: Reason;
  message: string;
}

const mirrorAnnotation = 'kubernetes.io/config.mirror';

/**
 * Why a pod cannot migrate at all, whatever the destination, or undefined when it can. What CRIU cannot carry (devices,
 * host namespaces) is refused here, before anything is touched, rather than found out with the pod frozen.
 */
export function refusePod(pod: Pod): Refusal | undefined {
  const name = `pod ${pod.metadata.namespace}/${pod.metadata.name}`;
  const refuse = (message: string): Refusal => ({ reason: reasons.podNotSupported, message: `${name} ${message}` });
  const { spec } = pod;

  if (pod.metadata.annotations?.[mirrorAnnotation] !== undefined) {
    return refuse('is a static pod: it belongs to its node (a file in the manifest directory of the kubelet) and cannot run on another');
  }
  const owner = controllerOf(pod);
  if (owner?.kind === 'DaemonSet') return refuse(`belongs to DaemonSet ${owner.name}: every node has its own, it cannot move to another`);
  if (owner?.kind === 'Node') return refuse('is a static pod: it belongs to its node and cannot run on another');
  if (owner && !ownerKinds.has(owner.kind)) {
    return refuse(
      `is controlled by ${owner.kind} ${owner.name}; podferry knows how to hand over pods of ReplicaSets, ReplicationControllers, Jobs and StatefulSets, and pods without an owner`,
    );
  }
  if (spec.hostNetwork) return refuse('uses hostNetwork: its sockets and addresses belong to the node and cannot be restored on another');
  if (spec.hostPID)
    return refuse('uses hostPID: its processes are numbered in the namespace of the node and cannot be restored on another');
  if (spec.hostIPC) return refuse('uses hostIPC: its shared memory belongs to the node and cannot be restored on another');
  if (spec.resourceClaims?.length) return refuse('uses resourceClaims: the state of devices cannot be checkpointed');
  for (const container of runningContainers(pod)) {
    const problem = refuseContainer(container);
    if (problem) return refuse(`has container ${container.name} that ${problem}`);
  }
  const writable = writableHostPath(pod);
  if (writable) {
    return refuse(`can write to the hostPath volume ${writable}: what it wrote stays on the node; mount it readOnly or use another volume`);
  }
  return undefined;
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

const ownerKinds = new Set(['ReplicaSet', 'ReplicationController', 'Job', 'StatefulSet']);

/** The owner that controls the pod, if any. */
export function controllerOf(pod: Pod) {
  return pod.metadata.ownerReferences?.find((owner) => owner.controller);
}

function refuseContainer(container: Container): string | undefined {
  if (container.securityContext?.privileged)
    return 'is privileged: it may hold devices and mounts of the node, which cannot be checkpointed';
  if (container.volumeDevices?.length) return 'uses block devices, which cannot be checkpointed';
  if (container.tty) return 'has a terminal (tty: true), which cannot be restored';
  const device = Object.keys(container.resources?.limits ?? {}).find(isDevice);
  if (device) return `uses the device ${device}, whose state cannot be checkpointed`;
  return undefined;
}

/** Extended resources have a domain that is not Kubernetes' own; hugepages-* have none and are memory. */
function isDevice(resource: string): boolean {
  return resource.includes('/') && !resource.includes('kubernetes.io/');
}

function writableHostPath(pod: Pod): string | undefined {
  const hostPaths = new Set((pod.spec.volumes ?? []).filter((volume) => volume.hostPath).map((volume) => volume.name));
  for (const container of runningContainers(pod)) {
    const mount = container.volumeMounts?.find((candidate) => hostPaths.has(candidate.name) && !candidate.readOnly);
    if (mount) return mount.name;
  }
  return undefined;
}
