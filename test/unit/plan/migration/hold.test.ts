import {
  actionsOf,
  actionTypes,
  ago,
  expectFailure,
  observeAt,
  planOf,
  said,
  silent,
  sourceIs,
  targetIs,
  targetName,
  written,
} from './observations.ts';

const named = { target: { nodeName: 'node-b', name: targetName } };
const holding = (change: Parameters<typeof observeAt>[1], status: Parameters<typeof observeAt>[2] = named) =>
  observeAt('Holding', change, status);
const ready = { source: sourceIs('Shipped'), destination: targetIs('Complete') };

test('both are asked to write it down: the source that it holds, the destination that it serves', () => {
  const plan = planOf(holding(ready));
  expect(plan.meanwhile).toMatchObject([
    { type: 'setSource', nodeName: 'node-a', request: { goal: 'Held' } },
    { type: 'setTarget', nodeName: 'node-b', request: { goal: 'Serving', pod: targetName } },
  ]);
  expect(plan.actions).toEqual([]);
  expect(plan.status?.phase).toBe('Holding');
  expect(said(plan)).toMatchObject({ reason: 'Switching', message: 'holding pod web-7d9f-abcde on node node-a' });
  for (const half of [
    { ...ready, source: sourceIs('Held') },
    { ...ready, destination: targetIs('Serving') },
  ]) {
    expect(actionTypes(planOf(holding(half)))).toEqual(['setSource', 'setTarget']);
  }
});

test('only when both have, the switch begins', () => {
  const observation = holding({ source: sourceIs('Held'), destination: targetIs('Serving') });
  const plan = planOf(observation);
  expect(plan).toMatchObject({ status: { phase: 'Switching', target: { name: targetName }, steps: { held: ago(0) } } });
  // What it begins with, in the same go.
  expect(actionTypes(plan)).toEqual(['releasePod']);
  expect(plan.actions).toEqual(planOf(written(observation, plan)).actions);
  expect(said(plan)?.message).toBe(`switching to pod ${targetName} on node node-b`);
  // From here on nothing asks the source to resume.
  expect(actionsOf(planOf(written(observation, plan)))).not.toContainEqual(expect.objectContaining({ type: 'setSource' }));
});

test('without a name that was written nobody is asked anything', () => {
  expectFailure(planOf(holding(ready, {})), 'RollingBack', 'HoldFailed', /lost the target's name/);
});

test('a source that was resumed meanwhile rolls back, with what its agent says of it', () => {
  const error = { step: 'lease', message: 'the lease of the freeze ran out' } as const;
  expectFailure(
    planOf(holding({ ...ready, source: sourceIs('Running', { error }) })),
    'RollingBack',
    'HoldFailed',
    /the lease of the freeze ran out/,
  );
  expectFailure(
    planOf(holding({ ...ready, source: sourceIs('Running') })),
    'RollingBack',
    'HoldFailed',
    /was resumed on node node-a before the switch/,
  );
  expectFailure(planOf(holding({ ...ready, source: sourceIs('Unknown') })), 'RollingBack', 'HoldFailed', /was resumed/);
});

test.each(['Unknown', 'Prepared', 'Revoked', 'Committed'] as const)('a destination that is %s has lost the archives', (state) => {
  expectFailure(
    planOf(holding({ ...ready, destination: targetIs(state) })),
    'RollingBack',
    'ShippingFailed',
    /node node-b has lost the archives/,
  );
});

describe('agents that do not answer', () => {
  test('are waited for; the lease decides, and its agent says how', () => {
    for (const change of [
      { ...ready, source: silent },
      { source: undefined, destination: undefined },
    ]) {
      const plan = planOf(holding(change));
      expect(plan).toMatchObject({ actions: [], requeueAfter: 1000, status: { phase: 'Holding' } });
      expect(said(plan)).toMatchObject({ reason: 'SourceUnreachable' });
    }
  });

  // The reason is SourceUnreachable whichever of both is silent.
  test('the reason names the one that is silent', () => {
    expect(said(planOf(holding({ ...ready, destination: silent })))?.reason).toBe('DestinationUnreachable');
  });

  // Asked for both before either is looked at: a pod that its agent resumed runs, and its Migration waits for the other node without end.
  test('a source that says that it runs rolls back, whether the destination answers or not', () => {
    const error = { step: 'lease', message: 'the lease ran out' } as const;
    expect(planOf(holding({ source: sourceIs('Running', { error }), destination: silent })).status?.phase).toBe('RollingBack');
  });
});
