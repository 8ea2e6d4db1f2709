import type { LabelSelector } from '../../../../src/api/policy.ts';
import { standIn } from '../../../../src/plan/pods/stand-in.ts';
import { selects } from '../../../../src/plan/policy/select.ts';
import { deepFreeze, pod } from '../objects.ts';

interface Term {
  labelSelector: LabelSelector;
  [field: string]: unknown;
}

const web = { app: 'web', 'pod-template-hash': '7d9f', tier: 'front' };
const spread = (selector: LabelSelector, more: object = {}) => ({
  maxSkew: 1,
  topologyKey: 'zone',
  whenUnsatisfiable: 'DoNotSchedule',
  labelSelector: selector,
  ...more,
});

/** What stands in for a pod with these constraints, and whom its first topology spread selects. */
function of(labels: Record<string, string>, constraints: object[], affinity?: Record<string, unknown>) {
  const made = standIn(
    deepFreeze(pod({ metadata: { labels }, spec: { topologySpreadConstraints: constraints, ...(affinity ? { affinity } : {}) } })),
  );
  const [first] = (made.spec.topologySpreadConstraints ?? []) as Term[];
  return { ...made, first, counts: (other: Record<string, string>) => selects(first?.labelSelector, other) };
}

test('a pod without constraints needs no labels', () => {
  expect(standIn(pod({ metadata: { labels: web } }))).toEqual({ labels: {}, spec: {} });
});

test.each<[string, LabelSelector]>([
  ['labels', { matchLabels: { app: 'web', tier: 'front' } }],
  ['In', { matchExpressions: [{ key: 'app', operator: 'In', values: ['web', 'api'] }] }],
  ['NotIn', { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['db'] }] }],
  ['Exists', { matchExpressions: [{ key: 'app', operator: 'Exists' }] }],
  ['DoesNotExist', { matchExpressions: [{ key: 'gone', operator: 'DoesNotExist' }] }],
  ['of which the pod is not', { matchLabels: { app: 'db' } }],
  ['not itself', { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] }],
  ['which it must not have', { matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] }],
  ['all', {}],
])('a selector by %s takes the stand-in for the pod, and the others for what they are', (_what, selector) => {
  const { labels, counts } = of(web, [spread(selector)]);
  expect(counts(labels)).toBe(selects(selector, web));
  for (const other of [web, { app: 'db' }, { app: 'api', tier: 'back' }, {}])
    expect([other, counts(other)]).toEqual([other, selects(selector, other)]);
});

test('nobody else takes it for one of theirs', () => {
  const { labels } = of(web, [spread({ matchLabels: web })]);
  expect(Object.keys(labels)).toEqual(Object.keys(web));
  for (const [key, value] of Object.entries(web)) expect(selects({ matchLabels: { [key]: value } }, labels)).toBe(false);
  for (const value of Object.values(labels)) expect(value).toMatch(/^[a-z0-9-]{1,63}$/);
  // Only what constraints speak of.
  expect(Object.keys(of(web, [spread({ matchLabels: { app: 'web' } })]).labels)).toEqual(['app']);
});

test('stand-ins of one application count for each other, those of others do not', () => {
  const selector = { matchLabels: { app: 'web' } };
  const { counts } = of(web, [spread(selector)]);
  expect(counts(of({ app: 'web', other: 'x' }, [spread(selector)]).labels)).toBe(true);
  expect(counts(of({ app: 'db' }, [spread({ matchLabels: { app: 'db' } })]).labels)).toBe(false);
});

test('keys whose values the pod has', () => {
  const keys = { matchLabelKeys: ['pod-template-hash', 'none'] };
  const { first, labels, counts } = of(web, [spread({ matchLabels: { app: 'web' } }, keys)]);
  expect(first).not.toHaveProperty('matchLabelKeys');
  expect([counts(web), counts({ ...web, 'pod-template-hash': 'older' }), counts(labels)]).toEqual([true, false, true]);
  // The API server has written it there already.
  const merged = spread(
    { matchLabels: { app: 'web' }, matchExpressions: [{ key: 'pod-template-hash', operator: 'In', values: ['7d9f'] }] },
    keys,
  );
  expect(of(web, [merged]).first?.labelSelector.matchExpressions).toHaveLength(2);
});

test('a pod of a StatefulSet does not count itself, as it leaves its place', () => {
  const own = { app: 'db', 'statefulset.kubernetes.io/pod-name': 'db-0' };
  const { counts, labels } = of(own, [spread({ matchLabels: { app: 'db' } })]);
  expect([counts(own), counts({ ...own, 'statefulset.kubernetes.io/pod-name': 'db-1' }), counts(labels)]).toEqual([false, true, true]);
});

test('affinity to pods and against them, required and preferred; nodes and the rest stay as they are', () => {
  const term = { topologyKey: 'zone', namespaces: ['shop'], labelSelector: { matchLabels: { app: 'web' } } };
  const terms = {
    requiredDuringSchedulingIgnoredDuringExecution: [term],
    preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 7, podAffinityTerm: term }],
  };
  const nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields: [] }] } };
  const { spec, labels } = of(web, [], { nodeAffinity, podAffinity: terms, podAntiAffinity: terms });
  const expected = { ...term, labelSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['web', labels.app] }] } };
  const all = {
    requiredDuringSchedulingIgnoredDuringExecution: [expected],
    preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 7, podAffinityTerm: expected }],
  };
  expect(spec.affinity).toEqual({ nodeAffinity, podAffinity: all, podAntiAffinity: all });
  expect(labels.app).toBeDefined();
});

test('a term without a selector is about no pod, and stays so', () => {
  const { labelSelector: _none, ...nobody } = spread({});
  expect(of(web, [nobody]).first).toEqual(nobody);
});
