import { actionTypes, ago, observeAt, planOf, said, sourceIs, targetIs } from './observations.ts';

const complete = 'ReplicaSet web-7d9f was scaled down to 1 replicas, and has them';
const returning = (returns: number, change: Parameters<typeof observeAt>[1] = {}) =>
  observeAt(
    'Returning',
    { sourcePod: undefined, complete, source: sourceIs('Held'), destination: targetIs('Unknown'), ...change },
    { returns, failedDestination: 'node-b', target: { nodeName: 'node-a', name: 'web-7d9f-abcde' }, steps: { held: ago(20) } },
  );

describe('its owner has all the pods that it wants', () => {
  test('it is asked for once more first', () => {
    const plan = planOf(returning(1));
    expect(actionTypes(plan)).toEqual(['setTarget']);
  });

  test('then the memory is given up, and its copies go', () => {
    const plan = planOf(returning(2));
    expect(actionTypes(plan)).toEqual(['forgetSource']);
    expect(said(plan)?.message).toBe(`removing the archives: ${complete}`);
    const after = planOf(returning(2, { source: sourceIs('Unknown') }));
    expect(after.status?.phase).toBe('Failed');
    expect(said(after)?.message).toContain(`(pod web-7d9f-abcde was given up: ${complete})`);
  });

  test('while it wants more, nothing is given up', () => {
    expect(actionTypes(planOf(returning(2, { complete: undefined })))).toEqual(['setTarget']);
  });
});
