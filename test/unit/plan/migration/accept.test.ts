import { policyOf, refuseNode } from '../../../../src/plan/migration/accept.ts';
import { migration, node, ownedBy, pod, podUid } from '../objects.ts';
import { made } from '../policy/policies.ts';
import { ago, claimed, expectFailure, observe, planOf, said, written } from './observations.ts';

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
    [
      'another pod of that name than the one a policy meant',
      { migration: made(undefined, { podUid: 'before' }) },
      'PodNotFound',
      /no pod shop\/web-7d9f-abcde/,
    ],
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
      'a node whose CPU lacks something',
      {
        migration: to('node-b'),
        cpus: {
          source: { architecture: 'amd64', vendor: 'GenuineIntel', features: ['sse2', 'avx2', 'fma'] },
          destination: { architecture: 'amd64', vendor: 'GenuineIntel', features: ['sse2'] },
          lacking: [],
        },
      },
      'CPUIncompatible',
      /CPU of node node-b lacks features of that of node node-a, which the pod may use: avx2, fma$/,
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

describe('made by a policy', () => {
  const queued = { granted: false, position: 3, why: 'policy drains allows 1 migrations at once' } as const;
  const ours = () => {
    const one = made(undefined);
    return { ...one, metadata: { ...one.metadata, generation: 1, finalizers: ['podferry.io/migration'] } };
  };
  const waits = (change: Parameters<typeof observe>[0] = {}) =>
    observe({ migration: ours(), turn: queued, budgets: ['shop/web'], ...change });

  test('its label says so', () => {
    expect(policyOf(ours())).toBe('drains');
    expect(policyOf(migration())).toBeUndefined();
  });

  test('before its turn nothing is claimed; where it stands is written down, and looked at now and then', () => {
    const plan = planOf(waits());
    expect(plan).toMatchObject({
      actions: [],
      requeueAfter: 30_000,
      status: { phase: 'Pending', policy: 'drains', queuePosition: 3, budgets: ['shop/web'] },
    });
    expect(plan.events ?? []).toEqual([]);
    expect(said(plan)).toMatchObject({
      status: 'False',
      reason: 'Queued',
      message: 'waiting for its turn (position 3): policy drains allows 1 migrations at once',
    });
    expect(said(plan, 'Reconciling')?.status).toBe('True');
    expect(plan.status?.source).toBeUndefined();
    // Even when the claim stands, since a leader before had let it through.
    expect(planOf(claimed(waits()))).toEqual(plan);
    const next = planOf({ ...written(waits(), plan), turn: { ...queued, position: 1 } });
    expect(next.status).toMatchObject({ phase: 'Pending', queuePosition: 1 });
  });

  test('far back in the queue it looks less often', () => {
    const after = (position: number) => planOf(waits({ turn: { ...queued, position } })).requeueAfter;
    expect([1, 100, 1000, 100_000].map(after)).toEqual([30_000, 30_000, 300_000, 30_000_000]);
  });

  test('the finalizer comes first, and what cannot be is refused at once', () => {
    expect(planOf(waits({ migration: made(undefined, { metadata: { ...ours().metadata, finalizers: [] } }) })).actions).toEqual([
      { type: 'addFinalizer' },
    ]);
    expectFailure(planOf(waits({ sourcePod: pod({ spec: { hostNetwork: true } }) })), 'Failed', 'PodNotSupported', /hostNetwork/);
    const deleted = made(undefined, { metadata: { ...ours().metadata, deletionTimestamp: ago(0) } });
    expectFailure(planOf(waits({ migration: deleted })), 'Failed', 'Cancelled', /deleted before it began/);
  });

  test('in its turn: claimed, then accepted; it stands in no queue any more', () => {
    const turn = { granted: true } as const;
    const waited = written(waits(), planOf(waits()));
    expect(planOf({ ...waited, turn }).actions).toMatchObject([{ type: 'claimPod', uid: podUid }]);
    const plan = planOf(claimed({ ...waited, turn, budgets: ['shop/web', 'shop/all'] }));
    expect(plan.status).toMatchObject({ phase: 'Preparing', policy: 'drains', budgets: ['shop/web', 'shop/all'], source: { uid: podUid } });
    expect(JSON.parse(JSON.stringify(plan.status))).not.toHaveProperty('queuePosition');
  });

  test('one that somebody made by hand neither waits nor has a policy', () => {
    const plan = planOf(claimed(observe({ turn: queued, budgets: ['shop/web'] })));
    expect(plan.status?.phase).toBe('Preparing');
    expect(plan.status).not.toHaveProperty('policy');
    expect(plan.status).not.toHaveProperty('budgets');
  });
});
