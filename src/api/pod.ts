import type { ObjectMeta } from './migration.ts';

/**
 * The parts of a core/v1 Pod that podferry reads. Pods are kept as the raw JSON the API server sent (an index signature
 * everywhere), so that a field this version does not know is never lost when a pod is created again.
 */
export interface Pod {
  apiVersion?: 'v1';
  kind?: 'Pod';
  metadata: ObjectMeta & { [field: string]: unknown };
  spec: PodSpec;
  status?: PodStatus;
}

export interface PodSpec {
  nodeName?: string;
  containers: Container[];
  initContainers?: Container[];
  ephemeralContainers?: unknown[];
  volumes?: Volume[];
  hostNetwork?: boolean;
  hostPID?: boolean;
  hostIPC?: boolean;
  runtimeClassName?: string;
  /** Resolved from the PriorityClass by the API server. */
  priority?: number;
  resourceClaims?: unknown[];
  nodeSelector?: Record<string, string>;
  affinity?: { nodeAffinity?: NodeAffinity; [field: string]: unknown };
  imagePullSecrets?: { name?: string }[];
  securityContext?: { seccompProfile?: SeccompProfile; [field: string]: unknown };
  os?: { name: string };
  [field: string]: unknown;
}

export interface NodeAffinity {
  requiredDuringSchedulingIgnoredDuringExecution?: { nodeSelectorTerms: NodeSelectorTerm[] };
  [field: string]: unknown;
}

export interface NodeSelectorTerm {
  matchExpressions?: NodeSelectorRequirement[];
  matchFields?: NodeSelectorRequirement[];
}

export interface NodeSelectorRequirement {
  key: string;
  operator: string;
  values?: string[];
}

export interface SeccompProfile {
  type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  localhostProfile?: string;
}

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: unknown;
}

export interface Container {
  name: string;
  image?: string;
  imagePullPolicy?: string;
  restartPolicy?: string;
  resources?: { requests?: Record<string, string>; limits?: Record<string, string>; [field: string]: unknown };
  securityContext?: { privileged?: boolean; seccompProfile?: SeccompProfile; [field: string]: unknown };
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean; [field: string]: unknown }[];
  volumeDevices?: unknown[];
  ports?: { hostPort?: number; [field: string]: unknown }[];
  tty?: boolean;
  stdin?: boolean;
  env?: EnvVar[];
  envFrom?: unknown[];
  [field: string]: unknown;
}

export interface Volume {
  name: string;
  emptyDir?: { medium?: string; sizeLimit?: string };
  hostPath?: { path: string; type?: string };
  persistentVolumeClaim?: { claimName: string; readOnly?: boolean };
  /** A generic ephemeral volume: a claim that is made for this one pod. */
  ephemeral?: unknown;
  [source: string]: unknown;
}

export interface PodStatus {
  phase?: string;
  reason?: string;
  message?: string;
  podIP?: string;
  hostIP?: string;
  qosClass?: string;
  conditions?: { type: string; status: string; reason?: string; message?: string; lastTransitionTime?: string }[];
  containerStatuses?: RuntimeContainerStatus[];
  initContainerStatuses?: RuntimeContainerStatus[];
  ephemeralContainerStatuses?: RuntimeContainerStatus[];
  [field: string]: unknown;
}

export interface RuntimeContainerStatus {
  name: string;
  ready?: boolean;
  started?: boolean;
  restartCount?: number;
  imageID?: string;
  containerID?: string;
  state?: {
    running?: { startedAt?: string };
    waiting?: { reason?: string; message?: string };
    terminated?: { exitCode?: number; reason?: string; message?: string };
  };
  /** How it ended the last time, once it was started again. */
  lastState?: { terminated?: { exitCode?: number; reason?: string; message?: string } };
}

/** The parts of a core/v1 Node that podferry reads. */
export interface Node {
  metadata: ObjectMeta;
  spec?: { unschedulable?: boolean; taints?: { key: string; value?: string; effect: string }[] };
  status?: { conditions?: { type: string; status: string }[]; nodeInfo?: { architecture?: string; containerRuntimeVersion?: string } };
}

/** Containers that run for the pod's whole life: the ordinary ones and the native sidecars (KEP-753). */
export function runningContainers(pod: Pod): Container[] {
  return [...(pod.spec.initContainers ?? []).filter(isSidecar), ...pod.spec.containers];
}

/** A native sidecar: an init container that is restarted always (KEP-753). */
export function isSidecar(container: Container): boolean {
  return container.restartPolicy === 'Always';
}

/** The statuses of the containers that `runningContainers` names. */
export function runningContainerStatuses(pod: Pod): RuntimeContainerStatus[] {
  const names = new Set(runningContainers(pod).map((container) => container.name));
  return [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].filter((status) =>
    names.has(status.name),
  );
}

/** Whether it counts as one of its owner's pods (kubernetes/pkg/controller, `IsPodActive`): it has not ended and is not going. */
export function isActive({ metadata, status }: Pod): boolean {
  return status?.phase !== 'Succeeded' && status?.phase !== 'Failed' && metadata.deletionTimestamp === undefined;
}

/** Of a pod or a Node. */
export function isReady({ status }: Pod | Node): boolean {
  return status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false;
}
