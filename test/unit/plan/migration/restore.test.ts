import type { PodChange } from '../objects.ts';
import { running } from '../objects.ts';
import {
  ago,
  checkpointImage,
  expectFailure,
  observeAt,
  planOf,
  said,
  silent,
  source,
  targetIs,
  targetName,
  targetPod,
} from './observations.ts';

const startedAt = '2026-11-24T11:59:55.500Z';
const started = (time: string | undefined = startedAt) =>
  targetIs('Serving', { containers: [{ name: 'app', rootfsImageRef: 'x', checkpointImage, ...(time ? { startedAt: time } : {}) }] });
const notStarted = targetIs('Serving');
const restoring = (pod: PodChange = {}, change: Parameters<typeof observeAt>[1] = {}, status: Parameters<typeof observeAt>[2] = {}) =>
  observeAt('Restoring', { targetPod: targetPod(pod), destination: started(), ...change }, status);
const container = (change: object): PodChange => ({ status: { containerStatuses: [{ ...running('app', 'a'), ...change }] } });
const waiting = (reason: string, message?: string) => container({ state: { waiting: { reason, message } } });

describe('committed', () => {
  test('runs and is ready: that is written down before anything of the source goes', () => {
    const plan = planOf(restoring());
    expect(plan).toMatchObject({
      actions: [],
      status: { phase: 'CleaningUp', steps: { committed: ago(0), restored: '2026-11-24T11:59:55.500000Z' } },
    });
    expect(said(plan)).toMatchObject({
      reason: 'Committed',
      message: `pod ${targetName} runs on node node-b with the memory of pod web-7d9f-abcde`,
    });
  });

  test('the downtime: from the freeze to the start of the last container, never negative', () => {
    const containers = ['2026-11-24T11:59:53.000Z', startedAt].map((time, index) => ({
      name: `c${index}`,
      rootfsImageRef: 'x',
      checkpointImage,
      startedAt: time,
    }));
    expect(planOf(restoring({}, { destination: targetIs('Serving', { containers }) })).status?.downtimeMilliseconds).toBe(5500);
    const skewed = { steps: { frozen: ago(0), created: ago(1) } };
    expect(planOf(restoring({}, {}, skewed)).status?.downtimeMilliseconds).toBe(0);
    expect(planOf(restoring({}, {}, { steps: { created: ago(1) } })).status).not.toHaveProperty('downtimeMilliseconds');
  });

  test('one that was not ready need not be; one that did its work and ended has been restored', () => {
    const unready = { status: { conditions: [{ type: 'Ready', status: 'False' }] } };
    expect(planOf(restoring(unready)).status?.phase).toBe('Restoring');
    expect(planOf(restoring(unready, {}, { source: { ...source, wasReady: false } })).status?.phase).toBe('CleaningUp');
    const ended = { ...container({ state: { terminated: { exitCode: 0 } } }).status, phase: 'Succeeded', conditions: [] };
    expect(planOf(restoring({ status: ended })).status?.phase).toBe('CleaningUp');
  });
});

describe('not yet', () => {
  test('a container has not started, or its pod does not run', () => {
    for (const observation of [restoring({}, { destination: notStarted }), restoring({ status: { phase: 'Pending' } })]) {
      const plan = planOf(observation);
      expect(plan).toMatchObject({ actions: [], status: { phase: 'Restoring' }, requeueAfter: 290_000 });
      expect(plan.waitFor).toEqual([{ side: 'destination', nodeName: 'node-b', revision: 5 }]);
      expect(said(plan)).toMatchObject({ reason: 'Restoring', message: `restoring pod ${targetName} on node node-b` });
    }
  });

  test('a destination that does not answer commits nothing', () => {
    for (const destination of [silent, undefined]) {
      const plan = planOf(restoring({}, { destination }));
      expect(plan).toMatchObject({ actions: [], status: { phase: 'Restoring' }, requeueAfter: 1000 });
      expect(plan.waitFor).toBeUndefined();
    }
  });

  test('the creation of a container, and what the kubelet does meanwhile, are no failures', () => {
    for (const reason of ['ContainerCreating', 'PodInitializing']) {
      expect(planOf(restoring(waiting(reason), { destination: notStarted })).status?.phase).toBe('Restoring');
    }
  });

  test('deleting the Migration does not stop what is as good as done', () => {
    const observation = restoring({}, { destination: notStarted });
    observation.migration.metadata.deletionTimestamp = ago(0);
    expect(planOf(observation).status?.phase).toBe('Restoring');
  });
});

test('a pull that was refused because the agent is just started again is waited for', () => {
  for (const reason of ['ErrImagePull', 'ImagePullBackOff']) {
    const refused = waiting(
      reason,
      'failed to pull: Head "https://localhost:9441/v2/t/app": dial tcp 127.0.0.1:9441: connect: connection refused',
    );
    expect(planOf(restoring(refused, { destination: notStarted })).status?.phase).toBe('Restoring');
  }
});

describe('failed', () => {
  const cases: [string, PodChange, RegExp][] = [
    ['the pod is deleted', { metadata: { deletionTimestamp: ago(0) } }, /being deleted by somebody else/],
    ['the pod failed', { status: { phase: 'Failed', reason: 'OutOfmemory', message: 'no room' } }, /failed: OutOfmemory no room/],
    ['a restart', container({ restartCount: 1 }), /container app ended right after the restore: it was restarted/],
    [
      'a restore that failed, and the kubelet has begun it again',
      container({ restartCount: 1, lastState: { terminated: { exitCode: 128, reason: 'StartError', message: 'criu failed' } } }),
      /container app was not restored: criu failed/,
    ],
    ['an end', container({ state: { terminated: { exitCode: 137, reason: 'OOMKilled' } } }), /ended right after the restore: OOMKilled/],
    ...['ErrImagePull', 'ImagePullBackOff', 'CreateContainerError', 'RunContainerError', 'CrashLoopBackOff'].map(
      (reason): [string, PodChange, RegExp] => [reason, waiting(reason, 'because'), /container app was not restored: because/],
    ),
    ['a reason without words', waiting('StartError'), /container app was not restored: StartError/],
    [
      'what CRIU said',
      waiting('CreateContainerError', 'failed to pull checkpoint base image x'),
      /see whether the podferry agent on the destination runs/,
    ],
    [
      'a sidecar',
      {
        spec: { initContainers: [{ name: 'proxy', restartPolicy: 'Always' }] },
        status: { initContainerStatuses: [{ name: 'proxy', state: { waiting: { reason: 'StartError' } } }] },
      },
      /container proxy was not restored/,
    ],
  ];
  test.each(cases)('%s', (_what, change, message) => {
    const plan = planOf(restoring(change, { destination: notStarted }));
    expectFailure(plan, 'RollingBack', 'RestoreFailed', message);
    expect(plan.status?.failure?.message).toContain(targetName);
  });

  test('what CRIU wrote down, seen by the agent of the destination: cause and cure, or a quotation', () => {
    const failing = waiting('RunContainerError', 'OCI runtime restore failed: criu failed: type RESTORE errno 0');
    const plan = (restoreFailure: string) => {
      const seen = targetIs('Serving', { containers: [{ name: 'app', rootfsImageRef: 'x', checkpointImage, restoreFailure }] });
      return planOf(restoring(failing, { destination: seen })).status?.failure?.message;
    };
    expect(plan("Error (criu/files-reg.c:2104): Can't open file host/data on restore: No such file or directory")).toMatch(
      /container app was not restored: a file that the process has open cannot be opened in the target pod; to cure it, see that image/,
    );
    expect(plan('Error (criu/x.c:1): The moon is full')).toMatch(
      /not restored: OCI runtime restore failed: criu failed: type RESTORE errno 0; CRIU: Error \(criu\/x.c:1\): The moon is full$/,
    );
  });

  test('the target is gone, or another one', () => {
    for (const other of [undefined, targetPod({ metadata: { uid: 'another' } })]) {
      expectFailure(planOf(restoring({}, { targetPod: other })), 'RollingBack', 'RestoreFailed', /was deleted before it was restored/);
    }
  });

  test('not ready in time, whether its agent answers or not', () => {
    const late = { steps: { created: ago(300) } };
    for (const destination of [notStarted, silent]) {
      expectFailure(planOf(restoring({}, { destination }, late)), 'RollingBack', 'RestoreFailed', /was not ready within 300 s/);
    }
    // Ready in the last moment is ready.
    expect(planOf(restoring({}, {}, late)).status?.phase).toBe('CleaningUp');
  });
});
