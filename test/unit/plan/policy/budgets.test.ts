import { type Budget, budgetsOf } from '../../../../src/plan/policy/budgets.ts';
import { namespace, pod } from '../objects.ts';

const selector = { matchLabels: { app: 'web' } };
const unready = pod({ status: { conditions: [{ type: 'Ready', status: 'False' }] } });
const budget = (spec: NonNullable<Budget['spec']>, status: NonNullable<Budget['status']> = {}): Budget => ({
  metadata: { namespace, name: 'b' },
  spec,
  status,
});
const guards = (one: Budget, of = pod()) => budgetsOf(of, [one]).length === 1;

test('a budget guards the ready pods of its namespace that its selector names', () => {
  expect(budgetsOf(pod(), [budget({ selector })])).toEqual([`${namespace}/b`]);
  expect(guards(budget({ selector, unhealthyPodEvictionPolicy: 'AlwaysAllow' }))).toBe(true);
  expect(guards(budget({ selector }, { currentHealthy: 3, desiredHealthy: 2 }))).toBe(true);
  expect(guards(budget({ selector: { matchLabels: { app: 'db' } } }))).toBe(false);
  expect(guards(budget({ selector: {} }))).toBe(true);
  expect(guards(budget({}))).toBe(false);
  expect(guards({ metadata: { namespace, name: 'b' } })).toBe(false);
  expect(guards({ metadata: { namespace: 'bank', name: 'b' }, spec: { selector } })).toBe(false);
});

test.each<[string, Budget['status'], string | undefined, boolean]>([
  ['too few others are healthy', { currentHealthy: 1, desiredHealthy: 2 }, undefined, true],
  ['too few others are healthy', { currentHealthy: 1, desiredHealthy: 2 }, 'IfHealthyBudget', true],
  ['it allows that', { currentHealthy: 1, desiredHealthy: 2 }, 'AlwaysAllow', false],
  ['enough others are healthy', { currentHealthy: 2, desiredHealthy: 2 }, undefined, false],
  ['enough others are healthy', { currentHealthy: 2, desiredHealthy: 2 }, 'IfHealthyBudget', false],
  ['none is wanted', { currentHealthy: 0, desiredHealthy: 0 }, undefined, true],
  ['it was not reckoned up yet', undefined, undefined, true],
])('a pod that is not Ready, when %s (%j, %s)', (_why, status, unhealthy, expected) => {
  const spec = { selector, ...(unhealthy ? { unhealthyPodEvictionPolicy: unhealthy } : {}) };
  expect(guards(budget(spec, status), unready)).toBe(expected);
});
