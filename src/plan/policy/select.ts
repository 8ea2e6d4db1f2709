import { labels as labelNames } from '../../api/names.ts';
import type { Node } from '../../api/pod.ts';
import type { LabelSelector, MigrationPolicy } from '../../api/policy.ts';

type Labels = Readonly<Record<string, string>> | undefined;

/** What can make a pod move; `eviction` is asked for, the others are states of its node. */
export type Trigger = { type: 'eviction' } | { type: 'node'; node: Node };

/** Whether labels match a selector (metav1.LabelSelector); an empty or missing one matches everything. */
export function selects(selector: LabelSelector | undefined, labels: Labels): boolean {
  const { matchLabels = {}, matchExpressions = [] } = selector ?? {};
  return (
    Object.entries(matchLabels).every(([key, value]) => labels?.[key] === value) &&
    matchExpressions.every((expression) => holds(expression, labels?.[expression.key]))
  );
}

function holds({ operator, values = [] }: NonNullable<LabelSelector['matchExpressions']>[number], value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/** A pod as policies look at it. */
export interface Subject {
  /** Labels of its namespace. */
  namespace: Labels;
  labels: Labels;
}

/** The policies that cover a pod, the one that goes before the others first: the highest priority, then by name. */
export function policiesOf(policies: readonly MigrationPolicy[], pod: Subject): MigrationPolicy[] {
  // Podferry's own helpers: a placeholder has nothing to keep, a released source is being moved already.
  if (pod.labels?.[labelNames.role] !== undefined) return [];
  return policies
    .filter(
      ({ metadata, spec }) =>
        !metadata.deletionTimestamp && selects(spec.namespaceSelector, pod.namespace) && selects(spec.podSelector, pod.labels),
    )
    .sort((left, right) => (right.spec.priority ?? 0) - (left.spec.priority ?? 0) || (left.metadata.name < right.metadata.name ? -1 : 1));
}

/**
 * The policy that applies to a pod: of those that cover it and have the trigger the one of the highest priority; of
 * equals the one whose name sorts first.
 */
export function policyFor(policies: readonly MigrationPolicy[], pod: Subject, trigger: Trigger): MigrationPolicy | undefined {
  return policiesOf(policies, pod).find((policy) => triggerOf(policy, trigger) !== undefined);
}

/** The policy under which a pod is prepared: of those that say something about it the first, if that says yes. */
export function preparingPolicy(policies: readonly MigrationPolicy[]): MigrationPolicy | undefined {
  const first = policies.find(({ spec }) => spec.prepare !== undefined);
  return first?.spec.prepare ? first : undefined;
}

/** In words which of a policy's triggers has fired, if any. */
export function triggerOf({ spec }: MigrationPolicy, trigger: Trigger): string | undefined {
  const { eviction = true, cordon, taints = [], nodeConditions = [] } = spec.triggers ?? {};
  if (trigger.type === 'eviction') return eviction ? 'eviction' : undefined;
  const { node } = trigger;
  if (cordon && node.spec?.unschedulable) return 'cordon';
  const taint = taints.find(({ key, effect }) =>
    node.spec?.taints?.some((candidate) => candidate.key === key && (effect === undefined || candidate.effect === effect)),
  );
  if (taint) return `taint ${taint.key}`;
  const condition = nodeConditions.find(({ type, status = 'True' }) =>
    node.status?.conditions?.some((candidate) => candidate.type === type && candidate.status === status),
  );
  return condition && `condition ${condition.type}`;
}
