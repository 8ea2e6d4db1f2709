import { refuseNode } from '../../../../src/plan/migration/accept.ts';
import { migration, node, ownedBy, pod, podUid } from '../objects.ts';
import { ago, claimed, expectFailure, observe, planOf, said } from './observations.ts';

describe('refused, and nothing is touched', () => {
  const to = (nodeName: string) => migration({ spec: { destination: { nodeName } } });
  const cases: [string, Parameters<typeof observe>[0], string, RegExp][] = [
    [
      'deleted before it began',
      { migration: migration({ metadata: { deletionTimestamp: ago(0) } }) },
      'Cancelled',
      /deleted before it began/,
    ],
    ['the namespace', { namespaceEnabled: false }, 'NamespaceNotEnabled', /kubectl label namespace shop podferry\.io\/enabled=true/],
    ['no pod', { sourcePod: undefined }, 'PodNotFound', /no pod shop\/web-7d9f-abcde/],
    ['another migration', { rivalMigration: 'first' }, 'AlreadyMigrating', /already moved by Migration first/],
    ['what cannot migrate', { sourcePod: pod({ spec: { hostNetwork: true } }) }, 'PodNotSupported', /web-7d9f-abcde uses hostNetwork/],
    ['what cannot now', { sourcePod: pod({ status: { phase: 'Pending' } }) }, 'PodNotRunning', /is Pending/],
    [
      'a liveness probe that leaves no time',
      {
        sourcePod: pod({ spec: { containers: [{ name: 'app', livenessProbe: { httpGet: {}, periodSeconds: 1, failureThreshold: 1 } }] } }),
      },
      'FreezeBudgetTooSmall',
      /may be frozen for 0 ms.*longer periodSeconds/,
    ],
    ['where it is', { migration: to('node-a'), destinationNode: node('node-a') }, 'AlreadyThere', /already runs on node node-a/],
    ['no such node', { migration: to('node-x'), destinationNode: undefined }, 'DestinationNotFound', /no node node-x/],
    [
      'a node not ready',
      { migration: to('node-b'), destinationNode: node('node-b', { ready: 'Unknown' }) },
      'DestinationNotReady',
      /node-b is not Ready/,
    ],
    [
      'a cordoned node',
      { migration: to('node-b'), destinationNode: node('node-b', { unschedulable: true }) },
      'DestinationCannotTakePod',
      /node-b is cordoned/,
    ],
    [
      "somebody else's pod in the place of one that an owner replaces",
      { migration: migration({ spec: { targetPod: 'mine' } }) },
      'PodNotSupported',
      /belongs to ReplicaSet web-7d9f.*migrate-to/,
    ],
  ];

  test.each(cases)('%s', (_what, change, reason, message) => {
    const plan = planOf(observe(change));
    expectFailure(plan, 'Failed', reason, message);
    expect(said(plan)).toMatchObject({ reason, observedGeneration: 1 });
    expect(said(plan, 'Stalled')?.status).toBe('True');
    expect(said(plan, 'Reconciling')).toBeUndefined();
    expect(plan.status?.steps?.finished).toBe(ago(0));
  });

  test('the pod is told too, when there is one', () => {
    const { events } = planOf(observe({ rivalMigration: 'first' }));
    expect(events?.[1]).toMatchObject({ type: 'Warning', reason: 'MigrationFailed', pod: { name: 'web-7d9f-abcde', uid: podUid } });
    expect(planOf(observe({ sourcePod: undefined })).events).toHaveLength(1);
  });

  test('a node about whose readiness nothing is known is not ready', () => {
    expect(refuseNode({ metadata: { name: 'node-x' } })?.reason).toBe('DestinationNotReady');
    expect(refuseNode(node('node-b'))).toBeUndefined();
  });
});

test('before anything else the finalizer, so that no Migration goes while something of it is on a node', () => {
  expect(planOf(observe({ migration: migration({ metadata: { finalizers: [] } }) }))).toEqual({ actions: [{ type: 'addFinalizer' }] });
});

test('then the pod, in the version that was looked at: of several migrations one gets it', () => {
  const sourcePod = pod({ metadata: { resourceVersion: '7' } });
  expect(planOf(observe({ sourcePod }))).toEqual({
    actions: [{ type: 'claimPod', name: 'web-7d9f-abcde', uid: podUid, resourceVersion: '7' }],
  });
  // What a migration that is over left on it does not count.
  const stale = pod({ metadata: { resourceVersion: '8', annotations: { 'podferry.io/claimed-by': 'old/uid' } } });
  expect(planOf(observe({ sourcePod: stale })).actions).toMatchObject([{ type: 'claimPod', resourceVersion: '8' }]);
});

describe('accepted', () => {
  test('what is to be moved is written down', () => {
    const plan = planOf(claimed(observe({ migration: migration({ status: { attempts: 1 } }) })));
    expect(plan.actions).toEqual([]);
    expect(plan.status).toMatchObject({
      phase: 'Preparing',
      switchKind: 'Release',
      attempts: 2,
      observedGeneration: 1,
      source: {
        name: 'web-7d9f-abcde',
        uid: podUid,
        nodeName: 'node-a',
        wasReady: true,
        owner: { kind: 'ReplicaSet' },
        labels: { app: 'web' },
      },
      containers: [{ name: 'app', image: 'registry.example/shop/web:v1', baseImage: expect.stringContaining('@sha256:aaa') }],
      steps: { accepted: ago(0) },
    });
    expect(plan.status?.source).not.toHaveProperty('manifest');
    expect(said(plan)).toMatchObject({
      status: 'False',
      reason: 'Accepted',
      message: expect.stringContaining('a node that the scheduler chooses'),
    });
    expect(said(plan, 'Reconciling')?.status).toBe('True');
    expect(plan.events?.map(({ reason, pod: about }) => [reason, about?.name])).toEqual([
      ['Accepted', undefined],
      ['Migrating', 'web-7d9f-abcde'],
    ]);
  });

  test('how long a liveness probe lets it be frozen is written down', () => {
    const containers = [{ name: 'app', livenessProbe: { httpGet: {}, periodSeconds: 5, failureThreshold: 3 } }];
    expect(planOf(claimed(observe({ sourcePod: pod({ spec: { containers } }) }))).status?.freezeBudgetMilliseconds).toBe(10_000);
    expect(planOf(claimed(observe())).status).not.toHaveProperty('freezeBudgetMilliseconds');
  });

  const kinds: [string | undefined, string][] = [
    ['ReplicaSet', 'Release'],
    ['ReplicationController', 'Release'],
    ['Job', 'Release'],
    ['StatefulSet', 'Recreate'],
    [undefined, 'Recreate'],
  ];
  test.each(kinds)('a pod of %s makes room by %s', (kind, switchKind) => {
    const plan = planOf(claimed(observe({ sourcePod: pod(kind ? { metadata: ownedBy(kind) } : {}) })));
    expect(plan.status?.switchKind).toBe(switchKind);
    expect(plan.status?.source?.owner?.kind).toBe(kind);
    // A name that is freed needs the manifest to come back, labels that are taken off need to be known.
    expect('manifest' in (plan.status?.source ?? {})).toBe(switchKind === 'Recreate');
    expect('labels' in (plan.status?.source ?? {})).toBe(switchKind === 'Release');
  });

  test('a pod that is provided; a named node; an index of a Job; one that was not ready', () => {
    const provided = planOf(
      claimed(observe({ sourcePod: pod(), migration: migration({ spec: { targetPod: 'mine', destination: { nodeName: 'node-b' } } }) })),
    );
    expect(provided.status?.switchKind).toBe('Provided');
    expect(said(provided)?.message).toContain('is to move to node node-b');
    const annotations = { 'batch.kubernetes.io/job-completion-index': '3' };
    const job = planOf(claimed(observe({ sourcePod: pod({ metadata: { ...ownedBy('Job'), annotations }, status: { conditions: [] } }) })));
    expect(job.status?.source).toMatchObject({ completionIndex: '3', wasReady: false });
  });
});
