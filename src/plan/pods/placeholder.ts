import type { Migration } from '../../api/migration.ts';
import { apiVersion, labels, roles } from '../../api/names.ts';
import type { Container, NodeSelectorRequirement, Pod, PodSpec } from '../../api/pod.ts';
import { runningContainers } from '../../api/pod.ts';
import { shortHash, withSuffix } from '../hash.ts';
import { architectureLabel, type LackingNodes } from './cpu.ts';
import { baseImages } from './images.ts';
import { standIn } from './stand-in.ts';

/** What of a pod's spec decides where the scheduler puts it; taken over by the placeholder as it is. */
const constraints = [
  'nodeSelector',
  'affinity',
  'tolerations',
  'topologySpreadConstraints',
  'priorityClassName',
  'runtimeClassName',
  'schedulerName',
  'imagePullSecrets',
  'serviceAccountName',
  'os',
  // Requests of the pod as a whole (KEP-2837).
  'resources',
] as const satisfies readonly (keyof PodSpec)[];

/** Nodes that are excluded by name at most; every term of the pod's node affinity has to bear each. */
const mostExcluded = 200;

/**
 * For so long the kubelet leaves a placeholder that was removed as it is: to take down its sandbox takes processor time that the
 * source's removal and the target's creation want just then. Its room is free at once, since kubelets count no pod that the API
 * server does not have (`GetActivePods`, pkg/kubelet). Seconds.
 */
const lingers = 2;

/** What of the nodes' CPUs bounds the choice. */
export interface CpuBounds {
  /** Of the source's node, as its label has it. */
  architecture?: string | undefined;
  lacking: readonly LackingNodes[];
}

export function placeholderName(migration: Migration): string {
  return withSuffix(migration.spec.pod, `room-${shortHash(migration.metadata.uid ?? migration.metadata.name, 8)}`);
}

/**
 * A pod that lets the real scheduler choose the destination, holds the room there, and makes its kubelet pull the base
 * images with the pod's own pull secrets, without running them (image volumes, KEP-4639).
 *
 * It has none of the pod's labels (stand-in.ts says what it has), so it never counts in the owner's replicas, in services or in disruption budgets;
 * it is owned by the Migration, so it never outlives it. Its own settings pass the `restricted` Pod Security Standard.
 *
 * @param image an image that waits, present on every node (the sandbox image)
 * @param cpus which CPUs it can go on with; of a named node that has been looked at before
 */
export function placeholderPod(migration: Migration, source: Pod, image: string, cpus: CpuBounds = { lacking: [] }): Pod {
  const claims = (source.spec.volumes ?? []).filter((volume) => volume.persistentVolumeClaim);
  const prefix = freePrefix(
    'base-',
    claims.map(({ name }) => name),
  );
  const bases = [...new Set(baseImages(source).map((base) => base.baseImage))].map((reference, index) => ({
    name: `${prefix}${index}`,
    reference,
  }));
  const holdsPorts = runningContainers(source).some((container) => hostPortsOf(container).ports);
  const spec: PodSpec = {
    containers: runningContainers(source).map((container, index) => ({
      name: container.name,
      image,
      imagePullPolicy: 'IfNotPresent',
      // A kubelet waits for the pull of an image volume, and tells of its failure, only when a container mounts it (1.36, run).
      ...(index === 0 ? { volumeMounts: bases.map(({ name }) => ({ name, mountPath: `/podferry/${name}`, readOnly: true })) } : {}),
      ...(container.resources ? { resources: container.resources } : {}),
      ...hostPortsOf(container),
      // The target's ports of the node would lead to it as long as its sandbox is there.
      ...(holdsPorts ? {} : { lifecycle: { preStop: { sleep: { seconds: lingers } } } }),
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true },
    })),
    volumes: [...bases.map(({ name, reference }) => ({ name, image: { reference, pullPolicy: 'IfNotPresent' } })), ...claims],
    securityContext: { runAsNonRoot: true, runAsUser: 65535, runAsGroup: 65535, seccompProfile: { type: 'RuntimeDefault' } },
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: holdsPorts ? 0 : lingers + 1,
    restartPolicy: 'Always',
  };
  for (const field of constraints) {
    if (source.spec[field] !== undefined) (spec as Record<string, unknown>)[field] = source.spec[field];
  }
  const likeThePod = standIn(source);
  Object.assign(spec, likeThePod.spec);
  const { nodeName, nodeSelector, avoid } = migration.spec.destination ?? {};
  if (nodeSelector) spec.nodeSelector = { ...spec.nodeSelector, ...nodeSelector };
  spec.affinity = nodeName
    ? withRequirements(spec.affinity, { matchFields: [{ key: 'metadata.name', operator: 'In', values: [nodeName] }] })
    : withRequirements(spec.affinity, {
        matchFields: [source.spec.nodeName ?? '', ...excluded(cpus)].map(isNot),
        matchExpressions: cpus.architecture ? [{ key: architectureLabel, operator: 'In', values: [cpus.architecture] }] : [],
      });
  if (avoid?.length) spec.affinity = withoutIfPossible(spec.affinity, avoid);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: placeholderName(migration),
      namespace: migration.metadata.namespace ?? '',
      labels: {
        [labels.name]: 'podferry',
        [labels.managedBy]: 'podferry',
        ...likeThePod.labels,
        [labels.role]: roles.placeholder,
        [labels.migration]: migration.metadata.name.slice(0, 63),
      },
      ownerReferences: [{ apiVersion, kind: 'Migration', name: migration.metadata.name, uid: migration.metadata.uid ?? '' }],
    },
    spec,
  };
}

/** The prefix, made longer until none of the names begins with it. */
function freePrefix(prefix: string, names: string[]): string {
  return names.some((name) => name.startsWith(prefix)) ? freePrefix(`x${prefix}`, names) : prefix;
}

/** A port of the node is taken by one pod only, so the placeholder holds it too. */
function hostPortsOf({ ports }: Container): Pick<Container, 'ports'> {
  const held = ports?.filter(({ hostPort }) => hostPort);
  return held?.length ? { ports: held } : {};
}

function excluded({ lacking }: CpuBounds): string[] {
  return lacking.flatMap(({ nodes }) => nodes).slice(0, mostExcluded);
}

/** A requirement on a field takes one value only (validation of core/v1). */
function isNot(nodeName: string): NodeSelectorRequirement {
  return { key: 'metadata.name', operator: 'NotIn', values: [nodeName] };
}

/** Terms of a node affinity are alternatives, so the requirements have to stand in each of them. */
function withRequirements(
  affinity: PodSpec['affinity'],
  { matchFields, matchExpressions = [] }: { matchFields: NodeSelectorRequirement[]; matchExpressions?: NodeSelectorRequirement[] },
): NonNullable<PodSpec['affinity']> {
  const required = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const terms = required?.nodeSelectorTerms.length ? required.nodeSelectorTerms : [{}];
  return {
    ...affinity,
    nodeAffinity: {
      ...affinity?.nodeAffinity,
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: terms.map((term) => ({
          ...term,
          matchFields: [...(term.matchFields ?? []), ...matchFields],
          ...(matchExpressions.length ? { matchExpressions: [...(term.matchExpressions ?? []), ...matchExpressions] } : {}),
        })),
      },
    },
  };
}

/** Other nodes first (the highest weight there is), these when no other fits. */
function withoutIfPossible(affinity: NonNullable<PodSpec['affinity']>, nodeNames: string[]): NonNullable<PodSpec['affinity']> {
  const { nodeAffinity } = affinity;
  const preferred = (nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution as object[] | undefined) ?? [];
  const preference = { matchFields: nodeNames.map(isNot) };
  return {
    ...affinity,
    nodeAffinity: { ...nodeAffinity, preferredDuringSchedulingIgnoredDuringExecution: [...preferred, { weight: 100, preference }] },
  };
}
