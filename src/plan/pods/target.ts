import type { Migration } from '../../api/migration.ts';
import { internalAnnotations, userAnnotations } from '../../api/names.ts';
import type { Container, Pod } from '../../api/pod.ts';
import { isSidecar, runningContainers } from '../../api/pod.ts';
import { controllerOf } from './support.ts';

const completionIndexAnnotation = 'batch.kubernetes.io/job-completion-index';

/** The completion index of a pod of an indexed Job (batch/v1). */
export function completionIndex(pod: Pod): string | undefined {
  return pod.metadata.annotations?.[completionIndexAnnotation];
}

/**
 * Whether a pod about to be created is the one a migration waits for. Exactly one pod can ever become it, because the
 * migration fixed the target's name before it released the source, and the API server gives a name only once.
 */
export function isAwaitedBy(migration: Migration, pod: Pod): boolean {
  const { status } = migration;
  if (status?.phase !== 'Switching' || !status.target?.name || !status.source) return false;
  switch (status.switchKind) {
    case 'Release': {
      const owner = controllerOf(pod);
      if (!owner || owner.uid !== status.source.owner?.uid) return false;
      if (completionIndex(pod) !== status.source.completionIndex) return false;
      return !pod.metadata.name || pod.metadata.name === status.target.name;
    }
    case 'Recreate': {
      const owner = controllerOf(pod);
      return pod.metadata.name === status.target.name && owner?.uid === status.source.owner?.uid;
    }
    case 'Provided':
      return pod.metadata.name === status.target.name;
    case undefined:
      return false;
  }
}

/** While a move is undone the owner gets its pod back: one more would be a second, empty one under its name or in its place. */
export function refusesReplacement({ status }: Migration, pod: Pod): boolean {
  if ((status?.phase !== 'RollingBack' && status?.phase !== 'Returning') || !status.steps?.held) return false;
  return status.switchKind === 'Release' || (status.switchKind === 'Recreate' && pod.metadata.name === status.source?.name);
}

/**
 * The pod as it is to be created so that the runtime restores it: every container that has a checkpoint takes its image
 * from there (`Always`, so that a restart asks the agent again and gets the base image), the node is the destination,
 * and init containers that have done their work are left out.
 */
export function toTarget(migration: Migration, pod: Pod): Pod {
  const status = migration.status;
  if (!status?.target?.name) throw new Error(`Migration ${migration.metadata.name} has no target yet`);
  const checkpoints = new Map((status.containers ?? []).map((container) => [container.name, container]));
  const originals: Record<string, string> = {};
  const bases: Record<string, string> = {};
  const sole = runningContainers(pod).length === 1 && checkpoints.size === 1 ? [...checkpoints.values()][0] : undefined;

  const restored = (container: Container): Container => {
    const checkpoint = checkpoints.get(container.name) ?? sole;
    if (!checkpoint?.checkpointImage) return container;
    originals[container.name] = checkpoint.image ?? '';
    bases[container.name] = checkpoint.baseImage ?? '';
    return { ...container, image: checkpoint.checkpointImage, imagePullPolicy: 'Always' };
  };

  const before = completedBefore(pod);
  const completed = [
    ...before,
    ...(pod.spec.initContainers ?? []).filter((container) => !isSidecar(container)).map((container) => container.name),
  ];
  const initContainers = (pod.spec.initContainers ?? []).filter(isSidecar).map(restored);
  const containers = pod.spec.containers.map(restored);
  const {
    [userAnnotations.migrateTo]: _migrateTo,
    [internalAnnotations.request]: _request,
    ...annotations
  } = pod.metadata.annotations ?? {};

  const target: Pod = {
    ...pod,
    metadata: {
      ...pod.metadata,
      name: status.target.name,
      annotations: {
        ...annotations,
        [internalAnnotations.migration]: migration.metadata.name,
        [internalAnnotations.migrationUid]: migration.metadata.uid ?? '',
        [internalAnnotations.originalImages]: JSON.stringify(originals),
        [internalAnnotations.baseImages]: JSON.stringify(bases),
        ...(completed.length ? { [internalAnnotations.completedInitContainers]: JSON.stringify(completed) } : {}),
      },
    },
    spec: { ...pod.spec, containers, nodeName: status.target.nodeName },
  };
  if (initContainers.length) target.spec.initContainers = initContainers;
  else delete target.spec.initContainers;
  return target;
}

/** Init containers that had done their work before an earlier migration; none when the annotation is damaged. */
function completedBefore(pod: Pod): string[] {
  try {
    const names: unknown = JSON.parse(pod.metadata.annotations?.[internalAnnotations.completedInitContainers] ?? '[]');
    return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : [];
  } catch {
    return [];
  }
}

/** Fields of the metadata that the API server sets and that a pod created again must not carry. */
const serverFields = [
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'managedFields',
  'selfLink',
  'finalizers',
] as const;

/** A running pod's manifest as it can be created again under the same name (switch kind Recreate). */
export function recreatable(pod: Pod): Pod {
  const metadata: Pod['metadata'] = { ...pod.metadata };
  for (const field of serverFields) delete metadata[field];
  const annotations = { ...metadata.annotations };
  delete annotations[userAnnotations.migrateTo];
  delete annotations[internalAnnotations.request];
  // What an earlier migration made of it stays known (its images); which migration that was does not.
  delete annotations[internalAnnotations.claim];
  delete annotations[internalAnnotations.migration];
  delete annotations[internalAnnotations.migrationUid];
  metadata.annotations = annotations;
  const { nodeName: _nodeName, ephemeralContainers: _ephemeralContainers, ...spec } = pod.spec;
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec };
}
