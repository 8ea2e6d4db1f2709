import { podUid } from '../objects.ts';
import {
  actionTypes,
  ago,
  observeAt,
  placeholder,
  planOf,
  said,
  silent,
  sourceIs,
  targetIs,
  targetName,
  targetPod,
  written,
} from './observations.ts';

const done = { destination: targetIs('Committed'), source: sourceIs('Unknown'), sourcePod: undefined, targetPod: targetPod() };
const cleaning = (change: Parameters<typeof observeAt>[1] = {}, status: Parameters<typeof observeAt>[2] = {}) =>
  observeAt('CleaningUp', { ...done, ...change }, status);

test('in order: the destination forgets the memory, the source goes, its archives last', () => {
  const first = planOf(
    cleaning({ destination: targetIs('Serving'), source: sourceIs('Held'), sourcePod: observeAt('CleaningUp').sourcePod }),
  );
  expect(first.actions).toMatchObject([{ type: 'setTarget', nodeName: 'node-b', request: { goal: 'Committed', pod: targetName } }]);
  const second = planOf(cleaning({ source: sourceIs('Held'), sourcePod: observeAt('CleaningUp').sourcePod }));
  expect(second.actions).toEqual([{ type: 'deletePod', name: 'web-7d9f-abcde', uid: podUid, gracePeriodSeconds: 0 }]);
  const third = planOf(cleaning({ source: sourceIs('Held') }));
  expect(third.actions).toEqual([{ type: 'forgetSource', nodeName: 'node-a' }]);
  for (const plan of [first, second, third]) {
    expect(plan.status?.phase).toBe('CleaningUp');
    expect(said(plan)).toMatchObject({ reason: 'Committed', message: expect.stringContaining(`pod ${targetName} runs; `) });
  }
});

test("a pod under the source's name that is the target, or another one, stays", () => {
  for (const sourcePod of [
    targetPod({ metadata: { name: 'web-7d9f-abcde' } }),
    targetPod({ metadata: { name: 'web-7d9f-abcde', uid: 'another' } }),
  ]) {
    const plan = planOf(cleaning({ sourcePod, source: sourceIs('Held') }));
    expect(actionTypes(plan)).toEqual(['forgetSource']);
  }
});

test('a placeholder that is left goes along with whatever is done', () => {
  const room = { type: 'deletePod', name: 'web-7d9f-abcde-room-x', uid: 'room', gracePeriodSeconds: 0 };
  expect(planOf(cleaning({ placeholder: placeholder(), destination: targetIs('Serving') })).actions).toMatchObject([
    room,
    { type: 'setTarget' },
  ]);
  expect(planOf(cleaning({ placeholder: placeholder(), destination: silent })).actions).toEqual([room]);
  const alone = planOf(cleaning({ placeholder: placeholder() }));
  expect(alone).toMatchObject({ actions: [room], status: { phase: 'CleaningUp' } });
  expect(planOf(cleaning({ placeholder: placeholder({ metadata: { deletionTimestamp: ago(0) } }) })).status?.phase).toBe('Succeeded');
});

test('a destination that does not answer is waited for while its Node exists', () => {
  for (const destination of [silent, undefined]) {
    const plan = planOf(cleaning({ destination }));
    expect(plan).toMatchObject({ actions: [], requeueAfter: 1000, status: { phase: 'CleaningUp' } });
    expect(said(plan)?.message).toContain('agent on node node-b has to put the base image in place of the checkpoint');
    expect(planOf(cleaning({ destination, destinationNode: undefined })).status?.phase).toBe('Succeeded');
  }
});

test('a source that does not answer is waited for while its Node exists', () => {
  const plan = planOf(cleaning({ source: silent }));
  expect(plan).toMatchObject({ actions: [], requeueAfter: 5000 });
  expect(said(plan)).toMatchObject({
    reason: 'SourceUnreachable',
    message: expect.stringContaining('the archives on node node-a are removed when'),
  });
  expect(planOf(cleaning({ source: silent, sourceNode: undefined })).status?.phase).toBe('Succeeded');
});

test('succeeded: said to those who look at the Migration and at the pod', () => {
  const plan = planOf(cleaning({}, { downtimeMilliseconds: 1234 }));
  const message = `pod web-7d9f-abcde moved from node node-a to node node-b as pod ${targetName}, stopped for 1234 ms`;
  expect(plan).toMatchObject({ actions: [], status: { phase: 'Succeeded', steps: { finished: ago(0) } } });
  expect(said(plan)).toMatchObject({ status: 'True', reason: 'Succeeded', message });
  expect(said(plan, 'Reconciling')).toBeUndefined();
  expect(said(plan, 'Stalled')).toBeUndefined();
  expect(plan.events?.map(({ type, reason, pod }) => [type, reason, pod?.name])).toEqual([
    ['Normal', 'Succeeded', undefined],
    ['Normal', 'Migrated', targetName],
  ]);
  expect(said(planOf(cleaning()))?.message).not.toContain('stopped for');
});

describe('a pod that returned to its origin', () => {
  const failure = { reason: 'RestoreFailed', message: 'CRIU could not' } as const;
  const returned = { failure, failedDestination: 'node-c', target: { nodeName: 'node-a', name: 'web-7d9f-abcde' } };

  test('the copy on the destination that failed goes when that answers, and is not waited for', () => {
    const plan = planOf(cleaning({ failedDestination: targetIs('Complete') }, returned));
    expect(plan.actions).toEqual([{ type: 'forgetTarget', nodeName: 'node-c' }]);
    for (const failedDestination of [silent, undefined, targetIs('Unknown')]) {
      expect(planOf(cleaning({ failedDestination }, returned)).status?.phase).toBe('Failed');
    }
  });

  test('has failed to move, and runs', () => {
    const observation = cleaning({}, returned);
    const plan = planOf(observation);
    expect(plan.status).toMatchObject({ phase: 'Failed', failure });
    expect(said(plan)).toMatchObject({
      status: 'False',
      reason: 'RestoreFailed',
      message: 'CRIU could not (pod web-7d9f-abcde runs again on node node-a, restored from its archive)',
    });
    expect(said(plan, 'Stalled')?.status).toBe('True');
    expect(planOf(written(observation, plan)).actions).toEqual([{ type: 'removeFinalizer' }]);
  });
});
