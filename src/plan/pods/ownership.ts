import type { MigrationStatus, ObjectMeta } from '../../api/migration.ts';
import { internalAnnotations } from '../../api/names.ts';
import { isActive, type Pod } from '../../api/pod.ts';
import { controllerOf } from './support.ts';

type Owner = NonNullable<NonNullable<MigrationStatus['source']>['owner']>;

/** What of an owner's specification says how many pods it wants (apps/v1 StatefulSetSpec). */
interface Wanting {
  metadata: ObjectMeta;
  spec?: { replicas?: number; ordinals?: { start?: number } };
}

/**
 * Why a pod's owner would not have it again, or undefined while it would: it is gone, or, a StatefulSet, has been scaled
 * down below the pod's ordinal. Of what else has replicas no pod has a place of its own.
 *
 * @param found the object that bears the owner's name now
 */
export function whyUnwanted({ kind, name, uid }: Owner, found: Wanting | undefined, pod: string): string | undefined {
  if (found?.metadata.uid !== uid || found.metadata.deletionTimestamp) return `${kind} ${name} was deleted`;
  if (kind !== 'StatefulSet') return undefined;
  const { replicas = 1, ordinals } = found.spec ?? {};
  const place = Number(/-(\d+)$/.exec(pod)?.[1] ?? Number.NaN) - (ordinals?.start ?? 0);
  return place >= replicas ? `${kind} ${name} was scaled down to ${replicas} replicas` : undefined;
}

/**
 * Why the owner of a pod that is gone will not ask for it again although it is there: a ReplicaSet that was scaled down meanwhile
 * has as many pods as it wants. Undefined, too, where one of them may have taken the pod's place without its memory.
 *
 * @param found the object that bears the owner's name now
 * @param pods of the namespace, from the API server
 * @param since when the migration began
 */
export function whyComplete({ kind, name, uid }: Owner, found: Wanting | undefined, pods: Pod[], since: string): string | undefined {
  if (!choosers.has(kind) || found?.metadata.uid !== uid) return undefined;
  const { replicas = 1 } = found.spec ?? {};
  const own = pods.filter((pod) => isActive(pod) && controllerOf(pod)?.uid === uid);
  // A target of another migration has a memory of its own, whenever it was made.
  const others = own.filter(
    ({ metadata: { creationTimestamp = '', annotations = {} } }) =>
      Date.parse(creationTimestamp) < Date.parse(since) || internalAnnotations.migrationUid in annotations,
  );
  return others.length >= replicas ? `${kind} ${name} was scaled down to ${replicas} replicas, and has them` : undefined;
}

/** Owners that choose which of their pods go. */
const choosers = new Set(['ReplicaSet', 'ReplicationController']);
