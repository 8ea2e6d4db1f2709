import type { ObjectMeta } from '../../api/migration.ts';
import type { Pod } from '../../api/pod.ts';
import { isReady } from '../../api/pod.ts';
import type { LabelSelector } from '../../api/policy.ts';
import { selects } from './select.ts';

/** The parts of a policy/v1 PodDisruptionBudget that podferry reads. */
export interface Budget {
  metadata: ObjectMeta;
  /** `selector` is a metav1.LabelSelector. */
  spec?: { selector?: object; unhealthyPodEvictionPolicy?: string };
  status?: { disruptionsAllowed?: number; currentHealthy?: number; desiredHealthy?: number };
}

/** The budgets that have a say when the pod is to go, as `namespace/name`. */
export function budgetsOf(pod: Pod, budgets: readonly Budget[]): string[] {
  return budgets.filter((budget) => guards(budget, pod)).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
}

/**
 * As in the API server's own eviction (1.36.3, pkg/registry/core/pod/storage/eviction.go): a pod that is not Ready counts as
 * unavailable already, so it may go where the budget's unhealthyPodEvictionPolicy is AlwaysAllow, or where enough others are
 * healthy.
 */
function guards({ metadata, spec, status }: Budget, pod: Pod): boolean {
  if (metadata.namespace !== pod.metadata.namespace) return false;
  if (!spec?.selector || !selects(spec.selector as LabelSelector, pod.metadata.labels)) return false;
  if (isReady(pod)) return true;
  const { currentHealthy = 0, desiredHealthy = 0 } = status ?? {};
  return spec.unhealthyPodEvictionPolicy !== 'AlwaysAllow' && !(desiredHealthy > 0 && currentHealthy >= desiredHealthy);
}

/** One that is gone allows everything; one that was not reckoned up yet allows nothing. */
export function disruptionsAllowed(budget: Budget | undefined): number {
  return budget ? (budget.status?.disruptionsAllowed ?? 0) : Number.POSITIVE_INFINITY;
}
