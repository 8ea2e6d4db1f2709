import type { MigrationStatus, ObjectMeta } from '../../api/migration.ts';

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
