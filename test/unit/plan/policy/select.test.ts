import type { LabelSelector } from '../../../../src/api/policy.ts';
import { policyFor, selects, type Trigger, triggerOf } from '../../../../src/plan/policy/select.ts';
import { deepFreeze, node } from '../objects.ts';
import { policy } from './policies.ts';

const eviction: Trigger = { type: 'eviction' };
const of = (subject: ReturnType<typeof node>): Trigger => ({ type: 'node', node: subject });

describe('selectors', () => {
  const has = (operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist', ...values: string[]): LabelSelector => ({
    matchExpressions: [{ key: 'tier', operator, ...(values.length ? { values } : {}) }],
  });
  const cases: [string, LabelSelector | undefined, Record<string, string> | undefined, boolean][] = [
    ['none', undefined, { a: 'b' }, true],
    ['none of nothing', undefined, undefined, true],
    ['an empty one', { matchLabels: {}, matchExpressions: [] }, undefined, true],
    ['labels, all there', { matchLabels: { a: '1', b: '2' } }, { a: '1', b: '2', c: '3' }, true],
    ['labels, one missing', { matchLabels: { a: '1', b: '2' } }, { a: '1' }, false],
    ['labels, one other', { matchLabels: { a: '1' } }, { a: '2' }, false],
    ['labels of nothing', { matchLabels: { a: '1' } }, undefined, false],
    ['In', has('In', 'web', 'db'), { tier: 'db' }, true],
    ['In, another', has('In', 'web', 'db'), { tier: 'cache' }, false],
    ['In, missing', has('In', 'web'), {}, false],
    ['NotIn', has('NotIn', 'web'), { tier: 'db' }, true],
    ['NotIn, that one', has('NotIn', 'web'), { tier: 'web' }, false],
    ['NotIn, missing', has('NotIn', 'web'), {}, true],
    ['Exists', has('Exists'), { tier: '' }, true],
    ['Exists, missing', has('Exists'), { other: 'x' }, false],
    ['DoesNotExist', has('DoesNotExist'), {}, true],
    ['DoesNotExist, there', has('DoesNotExist'), { tier: '' }, false],
    ['labels and expressions, both', { matchLabels: { a: '1' }, ...has('Exists') }, { a: '1', tier: 'x' }, true],
    ['labels and expressions, one', { matchLabels: { a: '1' }, ...has('Exists') }, { a: '1' }, false],
  ];
  test.each(cases)('%s', (_what, selector, labels, expected) => {
    expect(selects(deepFreeze(selector), labels)).toBe(expected);
  });
});

describe('triggers', () => {
  test('an eviction, unless it is switched off; nothing of a node', () => {
    expect(triggerOf(policy(), eviction)).toBe('eviction');
    expect(triggerOf(policy({ triggers: {} }), eviction)).toBe('eviction');
    expect(triggerOf(policy({ triggers: { eviction: false, cordon: true } }), eviction)).toBeUndefined();
    expect(triggerOf(policy(), of(node('node-a', { unschedulable: true })))).toBeUndefined();
  });

  test('a cordon', () => {
    const cordon = policy({ triggers: { cordon: true } });
    expect(triggerOf(cordon, of(node('node-a', { unschedulable: true })))).toBe('cordon');
    expect(triggerOf(cordon, of(node('node-a')))).toBeUndefined();
    expect(triggerOf(policy({ triggers: { cordon: false } }), of(node('node-a', { unschedulable: true })))).toBeUndefined();
  });

  test('a taint, of any effect or of one', () => {
    const tainted = { ...node('node-a'), spec: { taints: [{ key: 'maintenance', effect: 'NoSchedule' }] } };
    const on = (...taints: { key: string; effect?: 'NoSchedule' | 'NoExecute' }[]) =>
      triggerOf(policy({ triggers: { taints } }), of(tainted));
    expect(on({ key: 'maintenance' })).toBe('taint maintenance');
    expect(on({ key: 'maintenance', effect: 'NoSchedule' })).toBe('taint maintenance');
    expect(on({ key: 'maintenance', effect: 'NoExecute' })).toBeUndefined();
    expect(on({ key: 'spot' })).toBeUndefined();
    expect(on({ key: 'spot' }, { key: 'maintenance' })).toBe('taint maintenance');
    expect(triggerOf(policy({ triggers: { taints: [{ key: 'maintenance' }] } }), of(node('node-a')))).toBeUndefined();
  });

  test('a condition, True unless another status is asked for', () => {
    const ill = (status: string) => of({ ...node('node-a'), status: { conditions: [{ type: 'DiskFailing', status }] } });
    const plain = policy({ triggers: { nodeConditions: [{ type: 'DiskFailing' }] } });
    const unknown = policy({ triggers: { nodeConditions: [{ type: 'DiskFailing', status: 'Unknown' }] } });
    expect(triggerOf(plain, ill('True'))).toBe('condition DiskFailing');
    expect(triggerOf(plain, ill('False'))).toBeUndefined();
    expect(triggerOf(unknown, ill('Unknown'))).toBe('condition DiskFailing');
    expect(triggerOf(unknown, ill('True'))).toBeUndefined();
    expect(triggerOf(plain, of(node('node-a')))).toBeUndefined();
  });
});

describe('which policy applies', () => {
  const named = (name: string, spec: Parameters<typeof policy>[0] = {}) => policy(spec, { name });
  const web = { namespace: { team: 'shop' }, labels: { app: 'web' } };
  const nameOf = (...policies: ReturnType<typeof policy>[]) => policyFor(deepFreeze(policies), web, eviction)?.metadata.name;

  test('none, when none covers it', () => {
    expect(nameOf()).toBeUndefined();
    expect(nameOf(named('db', { podSelector: { matchLabels: { app: 'db' } } }))).toBeUndefined();
    expect(nameOf(named('other', { namespaceSelector: { matchLabels: { team: 'bank' } } }))).toBeUndefined();
    expect(
      nameOf(named('web', { podSelector: { matchLabels: { app: 'web' } }, namespaceSelector: { matchLabels: { team: 'shop' } } })),
    ).toBe('web');
  });

  test('the highest priority, then the name, in whatever order they come', () => {
    const policies = [named('b'), named('z', { priority: 5 }), named('a'), named('y', { priority: 5 }), named('c', { priority: -1 })];
    expect(nameOf(...policies)).toBe('y');
    expect(nameOf(...policies.toReversed())).toBe('y');
    expect(nameOf(named('b'), named('a'), named('c', { priority: -1 }))).toBe('a');
  });

  test('one that has not the trigger leaves it to the next; one that is being deleted too', () => {
    expect(nameOf(named('cordons', { priority: 9, triggers: { eviction: false, cordon: true } }), named('drains'))).toBe('drains');
    expect(nameOf(policy({ priority: 9 }, { name: 'going', deletionTimestamp: '2026-11-24T10:00:00Z' }), named('drains'))).toBe('drains');
  });

  test.each(['placeholder', 'source'])("none to podferry's own pods: %s", (role) => {
    const labels = { app: 'web', 'podferry.io/role': role };
    expect(policyFor([policy()], { namespace: {}, labels }, eviction)).toBeUndefined();
  });
});
