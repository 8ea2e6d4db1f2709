import { expect, test } from '@jest/globals';
import { type Condition, findCondition, isTrue, mergeConditions, removeCondition, setCondition } from '../../../src/kube/conditions.ts';

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second, 500));
const ready = (status: Condition['status'], reason: string, observedGeneration?: number) => ({
  type: 'Ready',
  status,
  reason,
  message: reason.toLowerCase(),
  ...(observedGeneration === undefined ? {} : { observedGeneration }),
});

test('the time changes with the status only; it is written in whole seconds', () => {
  const first = setCondition(undefined, ready('False', 'Begun'), at(0));
  expect(first).toEqual([{ ...ready('False', 'Begun'), lastTransitionTime: '2026-01-01T00:00:00Z' }]);
  const second = setCondition(first, ready('False', 'Goes on'), at(1));
  expect(second).toEqual([{ ...ready('False', 'Goes on'), lastTransitionTime: '2026-01-01T00:00:00Z' }]);
  const third = setCondition(second, ready('True', 'Done'), at(2));
  expect(third[0]?.lastTransitionTime).toBe('2026-01-01T00:00:02Z');
  // What was given is never changed.
  expect(first[0]?.reason).toBe('Begun');
});

test('nothing new gives the same array: nothing has to be written', () => {
  const conditions = setCondition([], ready('True', 'Done', 3), at(0));
  expect(setCondition(conditions, ready('True', 'Done', 3), at(9))).toBe(conditions);
  expect(removeCondition(conditions, 'Stalled')).toBe(conditions);
});

test('the generation that was looked at never goes back', () => {
  const conditions = setCondition([], ready('True', 'Done', 3), at(0));
  expect(setCondition(conditions, ready('True', 'Done', 2), at(1))).toBe(conditions);
  expect(setCondition(conditions, ready('True', 'Done', 4), at(1))[0]?.observedGeneration).toBe(4);
});

test('others keep their place and content', () => {
  const stalled = { type: 'Stalled', status: 'True', reason: 'Waits', message: '' } as const;
  const both = mergeConditions([], [ready('False', 'Begun'), stalled], at(0));
  const after = setCondition(both, ready('True', 'Done'), at(1));
  expect(after.map(({ type }) => type)).toEqual(['Ready', 'Stalled']);
  expect(after[1]).toBe(both[1]);
  expect(isTrue(after, 'Ready')).toBe(true);
  expect(isTrue(after, 'Unknown')).toBe(false);
  expect(findCondition(removeCondition(after, 'Ready'), 'Ready')).toBeUndefined();
});
