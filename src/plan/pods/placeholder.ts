import type { Migration } from '../../api/migration.ts';
import { apiVersion, labels, roles } from '../../api/names.ts';
import type { NodeSelectorRequirement, Pod, PodSpec } from '../../api/pod.ts';
import { runningContainers } from '../../api/pod.ts';
import { shortHash, withSuffix } from '../hash.ts';
import { baseImages } from './images.ts';

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
] as const satisfies readonly (keyof PodSpec)[];

export function placeholderName(migration: Migration): string {
  return withSuffix(migration.spec.pod, `room-${shortHash(migration.metadata.uid ?? migration.metadata.name, 8)}`);
}

/**
 * A pod that lets the real scheduler choose the destination, holds the room there, and makes its kubelet pull the base
 * images with the pod's own pull secrets, without running them (image volumes, KEP-4639).
 *
 * It has none of the pod's labels, so it never counts in the owner's replicas, in services or in disruption budgets;
 * it is owned by the Migration, so it never outlives it. Its own settings pass the `restricted` Pod Security Standard.
 *
 * @param image an image that waits, present on every node (the sandbox image)
 */
export function placeholderPod(migration: Migration, source: Pod, image: string): Pod {
  const bases = [...new Set(baseImages(source).map((base) => base.baseImage))].map((reference, index) => ({
    name: `base-${index}`,
    reference,
  }));
  const spec: PodSpec = {
    containers: runningContainers(source).map((container, index) => ({
      name: container.name,
      image,
      imagePullPolicy: 'IfNotPresent',
      // A kubelet waits for the pull of an image volume, and tells of its failure, only when a container mounts it (1.36, run).
      ...(index === 0 ? { volumeMounts: bases.map(({ name }) => ({ name, mountPath: `/podferry/${name}`, readOnly: true })) } : {}),
      ...(container.resources ? { resources: container.resources } : {}),
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true },
    })),
    volumes: [
      ...bases.map(({ name, reference }) => ({ name, image: { reference, pullPolicy: 'IfNotPresent' } })),
      ...(source.spec.volumes ?? []).filter((volume) => volume.persistentVolumeClaim),
    ],
    securityContext: { runAsNonRoot: true, runAsUser: 65535, runAsGroup: 65535, seccompProfile: { type: 'RuntimeDefault' } },
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 0,
    restartPolicy: 'Always',
  };
  for (const field of constraints) {
    if (source.spec[field] !== undefined) (spec as Record<string, unknown>)[field] = source.spec[field];
  }
  const { nodeName, nodeSelector } = migration.spec.destination ?? {};
  if (nodeSelector) spec.nodeSelector = { ...spec.nodeSelector, ...nodeSelector };
  spec.affinity = withNodeField(
    spec.affinity,
    nodeName
      ? { key: 'metadata.name', operator: 'In', values: [nodeName] }
      : { key: 'metadata.name', operator: 'NotIn', values: [source.spec.nodeName ?? ''] },
  );
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: placeholderName(migration),
      namespace: migration.metadata.namespace ?? '',
      labels: {
        [labels.name]: 'podferry',
        [labels.managedBy]: 'podferry',
        [labels.role]: roles.placeholder,
        [labels.migration]: migration.metadata.name.slice(0, 63),
      },
      ownerReferences: [{ apiVersion, kind: 'Migration', name: migration.metadata.name, uid: migration.metadata.uid ?? '' }],
    },
    spec,
  };
}

/** Terms of a node affinity are alternatives, so the requirement has to stand in each of them. */
function withNodeField(affinity: PodSpec['affinity'], field: NodeSelectorRequirement): NonNullable<PodSpec['affinity']> {
  const required = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const terms = required?.nodeSelectorTerms.length ? required.nodeSelectorTerms : [{}];
  return {
    ...affinity,
    nodeAffinity: {
      ...affinity?.nodeAffinity,
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: terms.map((term) => ({ ...term, matchFields: [...(term.matchFields ?? []), field] })),
      },
    },
  };
}
