import type { Pod, PodSpec } from '../../api/pod.ts';
import type { LabelSelector } from '../../api/policy.ts';
import { shortHash } from '../hash.ts';
import { selects } from '../policy/select.ts';

/**
 * A placeholder must not have the pod's labels, since owners, services and budgets would take it for one of theirs. But
 * the scheduler asks whether a pod matches its own constraints: a topology spread counts it where it goes
 * (podtopologyspread/filtering.go, `selfMatchNum`), and the first of pods that want to be together may go anywhere
 * (interpodaffinity/filtering.go, `satisfyPodAffinity`). So it bears the labels that the constraints speak of under
 * values of its own, and in its copy of the constraints these count like the pod's: it ends where the pod itself would.
 */
export interface StandIn {
  labels: Record<string, string>;
  spec: { affinity?: NonNullable<PodSpec['affinity']>; topologySpreadConstraints?: object[] };
}

type Expression = NonNullable<LabelSelector['matchExpressions']>[number];

/** What of a constraint says which pods it is about; core/v1 TopologySpreadConstraint and PodAffinityTerm. */
interface Term {
  labelSelector?: LabelSelector;
  matchLabelKeys?: string[];
  mismatchLabelKeys?: string[];
}

interface PodTerms {
  requiredDuringSchedulingIgnoredDuringExecution?: Term[];
  preferredDuringSchedulingIgnoredDuringExecution?: { podAffinityTerm: Term }[];
}

/** Names one pod of a StatefulSet; other pods have no label that is theirs alone. */
const podNameLabel = 'statefulset.kubernetes.io/pod-name';

export function standIn({ metadata, spec }: Pod): StandIn {
  const given = metadata.labels ?? {};
  const labels: Record<string, string> = {};
  const spoken = (key: string) => {
    const value = given[key];
    if (value !== undefined) labels[key] = standInValue(value);
  };
  const of = (term: Term): Term => {
    const selector = resolved(term, given);
    // Without a selector it is about no pod at all.
    if (!selector) return term;
    for (const { key } of selector) spoken(key);
    const matchExpressions = selector.map(widened);
    // The pod itself leaves its place; where it can be told from its siblings it does not count.
    const own = given[podNameLabel];
    if (own !== undefined && selects({ matchExpressions: selector }, given)) {
      matchExpressions.push({ key: podNameLabel, operator: 'NotIn', values: [own] });
    }
    const { matchLabelKeys: _said, mismatchLabelKeys: _saidToo, ...rest } = term;
    return { ...rest, labelSelector: { matchExpressions } };
  };
  const ofAll = (terms: PodTerms): PodTerms => ({
    ...terms,
    ...(terms.requiredDuringSchedulingIgnoredDuringExecution && {
      requiredDuringSchedulingIgnoredDuringExecution: terms.requiredDuringSchedulingIgnoredDuringExecution.map(of),
    }),
    ...(terms.preferredDuringSchedulingIgnoredDuringExecution && {
      preferredDuringSchedulingIgnoredDuringExecution: terms.preferredDuringSchedulingIgnoredDuringExecution.map((weighted) => ({
        ...weighted,
        podAffinityTerm: of(weighted.podAffinityTerm),
      })),
    }),
  });
  const { podAffinity, podAntiAffinity } = (spec.affinity ?? {}) as { podAffinity?: PodTerms; podAntiAffinity?: PodTerms };
  const spread = spec.topologySpreadConstraints as Term[] | undefined;
  return {
    spec: {
      ...(spec.affinity && {
        affinity: {
          ...spec.affinity,
          ...(podAffinity && { podAffinity: ofAll(podAffinity) }),
          ...(podAntiAffinity && { podAntiAffinity: ofAll(podAntiAffinity) }),
        },
      }),
      ...(spread && { topologySpreadConstraints: spread.map(of) }),
    },
    labels,
  };
}

/**
 * The selector as expressions, with what the keys stand for. The API server has written that into the selector of the
 * pod already (of a topology spread since 1.34); the placeholder has other labels, so that its keys would mean others.
 */
function resolved(
  { labelSelector, matchLabelKeys = [], mismatchLabelKeys = [] }: Term,
  given: Record<string, string>,
): Expression[] | undefined {
  if (!labelSelector) return undefined;
  const expressions: Expression[] = [
    ...Object.entries(labelSelector.matchLabels ?? {}).map(([key, value]) => ({ key, operator: 'In' as const, values: [value] })),
    ...(labelSelector.matchExpressions ?? []),
  ];
  for (const [keys, operator] of [
    [matchLabelKeys, 'In'],
    [mismatchLabelKeys, 'NotIn'],
  ] as const) {
    for (const key of keys) {
      const value = given[key];
      if (value !== undefined && !expressions.some((known) => known.key === key && known.operator === operator))
        expressions.push({ key, operator, values: [value] });
    }
  }
  return expressions;
}

/** A pod and its stand-in are the same to it. */
function widened(expression: Expression): Expression {
  const { values } = expression;
  return values?.length ? { ...expression, values: [...values, ...values.map(standInValue)] } : expression;
}

/** The same for the same value, so that stand-ins of one application count for each other as the pods would; nobody else uses it. */
function standInValue(value: string): string {
  return `podferry-${shortHash(value, 12)}`;
}
