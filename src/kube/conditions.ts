import type { Condition } from '../api/migration.ts';
import { metaTime } from './time.ts';

export type { Condition };

/** A condition as it should become; when it last changed follows from what it was. */
export type ConditionUpdate = Omit<Condition, 'lastTransitionTime'>;

/**
 * The conditions with one of them set, as metav1.Condition and apimachinery's meta.SetStatusCondition define it:
 * `lastTransitionTime` changes only with `status`. Order is kept, new ones come last.
 *
 * @returns the same array when nothing changes
 */
export function setCondition(conditions: readonly Condition[] | undefined, update: ConditionUpdate, now: Date): readonly Condition[] {
  const before = conditions?.find((condition) => condition.type === update.type);
  // The generation that was looked at never goes back: an update made from an older read says less.
  const observedGeneration = Math.max(update.observedGeneration ?? -1, before?.observedGeneration ?? -1);
  const after: Condition = {
    type: update.type,
    status: update.status,
    ...(observedGeneration >= 0 ? { observedGeneration } : {}),
    lastTransitionTime: before && before.status === update.status ? before.lastTransitionTime : metaTime(now),
    reason: update.reason,
    message: update.message,
  };
  if (!before) return [...(conditions ?? []), after];
  if (same(before, after)) return conditions ?? [];
  return (conditions ?? []).map((condition) => (condition.type === update.type ? after : condition));
}

/** Several at once. */
export function mergeConditions(
  conditions: readonly Condition[] | undefined,
  updates: readonly ConditionUpdate[],
  now: Date,
): readonly Condition[] {
  return updates.reduce<readonly Condition[]>((merged, update) => setCondition(merged, update, now), conditions ?? []);
}

/** @returns the same array when there is no such condition */
export function removeCondition(conditions: readonly Condition[], type: string): readonly Condition[] {
  return conditions.some((condition) => condition.type === type) ? conditions.filter((condition) => condition.type !== type) : conditions;
}

export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

export function isTrue(conditions: readonly Condition[] | undefined, type: string): boolean {
  return findCondition(conditions, type)?.status === 'True';
}

function same(left: Condition, right: Condition): boolean {
  const keys = ['status', 'reason', 'message', 'observedGeneration', 'lastTransitionTime'] as const;
  return keys.every((key) => left[key] === right[key]);
}
