import type { Migration, MigrationStatus } from '../../../src/api/migration.ts';
import type { Pod } from '../../../src/api/pod.ts';
import { reviewPod } from '../../../src/webhook/pods.ts';
import type { AdmissionRequest } from '../../../src/webhook/review.ts';
import { deepFreeze, ownedBy, type PodChange, pod, running } from '../plan/objects.ts';
import { FakeCluster, patient, requestOf } from './requests.ts';

const from = 'podferry.io/migrate-from';
const to = 'podferry.io/destination';
const asked = { [from]: 'web-7d9f-abcde', [to]: 'node-b' };

/** A new pod, `mine`, with these annotations. */
function mine(annotations: Record<string, string> = asked, change: PodChange = {}): Pod {
  const made = pod({ ...change, metadata: { name: 'mine', uid: 'mine', annotations, ...change.metadata } });
  delete made.spec.nodeName;
  delete made.status;
  return deepFreeze(made);
}

function clusterWith(source: Pod | undefined = pod()): FakeCluster {
  return Object.assign(new FakeCluster(), { pods: source ? [source] : [] });
}

const create = (cluster: FakeCluster, object: Pod, change: Partial<AdmissionRequest> = {}, signal: AbortSignal = patient) =>
  reviewPod(cluster, requestOf('CREATE', object, change), signal);
const invalid = (message: RegExp) => ({ allow: false, code: 422, reason: 'Invalid', message: expect.stringMatching(message) });

/** What the controller writes while the webhook waits. */
function becomes(cluster: FakeCluster, status: MigrationStatus): void {
  cluster.migrations = cluster.migrations.map((migration) => ({ ...migration, metadata: { ...migration.metadata, uid: 'm' }, status }));
}
const source = { name: 'web-7d9f-abcde', uid: 's', nodeName: 'node-a' };
const awaited: MigrationStatus = {
  phase: 'Switching',
  switchKind: 'Provided',
  source,
  target: { name: 'mine', nodeName: 'node-b' },
  containers: [{ name: 'app', image: 'web:v1', baseImage: 'web@sha256:1', checkpointImage: 'localhost:5001/token/app:restore' }],
};
const shipping: MigrationStatus = {
  phase: 'Shipping',
  source,
  conditions: [
    { type: 'Ready', status: 'False', reason: 'Checkpointed', message: 'shipping pod web: 40 % of 1000 bytes', lastTransitionTime: 'x' },
  ],
};

describe('what cannot be', () => {
  const annotations: [string, Record<string, string>, RegExp][] = [
    ['no source', { ...asked, [from]: '' }, /"" is neither POD nor POD\/CONTAINER/],
    ['a source that is no name', { ...asked, [from]: 'Web_1' }, /neither POD nor/],
    ['too many parts', { ...asked, [from]: 'web/app/x' }, /neither POD nor/],
    ['an empty container', { ...asked, [from]: 'web/' }, /neither POD nor/],
    ['no destination', { [from]: 'web-7d9f-abcde' }, /needs podferry\.io\/destination: NODE/],
    ['a destination that is no name', { ...asked, [to]: 'Node B' }, /needs podferry\.io\/destination: NODE/],
    ['itself', { ...asked, [from]: 'mine' }, /pod mine cannot continue itself/],
    ['no such pod', { ...asked, [from]: 'nobody' }, /no pod nobody to continue/],
    ['where it is', { ...asked, [to]: 'node-a' }, /already runs on node node-a/],
    ['a container that it has not', { ...asked, [from]: 'web-7d9f-abcde/db' }, /has no container db; it has app/],
  ];
  test.each(annotations)('%s', async (_what, given, message) => {
    const cluster = clusterWith();
    expect(await create(cluster, mine(given))).toEqual(invalid(message));
    expect(cluster.created).toEqual([]);
  });

  test('a pod without a name of its own', async () => {
    const unnamed = structuredClone(mine());
    delete (unnamed.metadata as Partial<Pod['metadata']>).name;
    unnamed.metadata.generateName = 'mine-';
    expect(await create(clusterWith(), unnamed)).toEqual(invalid(/needs a metadata\.name; generateName is not enough/));
  });

  const two = {
    spec: { containers: [{ name: 'app' }, { name: 'db' }] },
    status: { containerStatuses: [running('app', 'a'), running('db', 'b')] },
  };
  const sources: [string, PodChange, Pod, RegExp][] = [
    ['a source that cannot move', { spec: { hostPID: true } }, mine(), /hostPID/],
    ['a source that does not run', { status: { phase: 'Succeeded' } }, mine(), /is Succeeded/],
    ['a source that an owner would replace', { metadata: ownedBy('ReplicaSet') }, mine(), /belongs to ReplicaSet web-7d9f.*migrate-to/],
    [
      'one container of several',
      two,
      mine({ ...asked, [from]: 'web-7d9f-abcde/db' }),
      /containers app, db, which move together; leave \/db out/,
    ],
    ['containers that the new pod has not', two, mine(), /pod mine has no container db to continue/],
    [
      'a pod of more containers with other names',
      {},
      mine(asked, { spec: { containers: [{ name: 'a' }, { name: 'b' }] } }),
      /has no container app/,
    ],
  ];
  test.each(sources)('%s', async (_what, change, object, message) => {
    const cluster = clusterWith(pod(change));
    expect(await create(cluster, object)).toEqual(invalid(message));
    expect(cluster.created).toEqual([]);
  });

  test('by one who may not create Migrations', async () => {
    const cluster = clusterWith();
    cluster.access = { allowed: false, reason: '' };
    expect(await create(cluster, mine())).toEqual({
      allow: false,
      code: 403,
      reason: 'Forbidden',
      message: expect.stringMatching(/user anna may not create .* in namespace shop$/),
    });
    expect(cluster.created).toEqual([]);
  });
});

test('the Migration is made, and the answer waits until the checkpoint is there', async () => {
  const cluster = clusterWith();
  const phases: string[] = [];
  cluster.meanwhile = [{ phase: 'Preparing' as const }, shipping, { ...awaited, phase: 'Holding' as const }, awaited].map(
    (status) => () => {
      phases.push(status.phase ?? '');
      becomes(cluster, status);
    },
  );
  const verdict = await create(cluster, mine());
  expect(phases).toEqual(['Preparing', 'Shipping', 'Holding', 'Switching']);
  expect(cluster.created).toEqual([
    {
      apiVersion: 'podferry.io/v1alpha1',
      kind: 'Migration',
      metadata: { namespace: 'shop', name: expect.stringMatching(/^mine-[a-z0-9]{5}$/) },
      spec: { pod: 'web-7d9f-abcde', destination: { nodeName: 'node-b' }, targetPod: 'mine' },
    },
  ]);
  expect(verdict).toMatchObject({
    allow: true,
    pod: {
      metadata: { name: 'mine' },
      spec: { nodeName: 'node-b', containers: [{ name: 'app', image: 'localhost:5001/token/app:restore' }] },
    },
  });
});

test('the sole container may be named, and may have another name in the new pod', async () => {
  const cluster = clusterWith();
  cluster.meanwhile = [() => becomes(cluster, awaited)];
  const object = mine({ ...asked, [from]: 'web-7d9f-abcde/app' }, { spec: { containers: [{ name: 'other', image: 'web:v1' }] } });
  expect(await create(cluster, object)).toMatchObject({
    allow: true,
    pod: { spec: { containers: [{ name: 'other', image: 'localhost:5001/token/app:restore' }] } },
  });
});

test('the create that is tried again finds the finished work, and makes no second Migration', async () => {
  const cluster = clusterWith();
  cluster.meanwhile = [() => becomes(cluster, shipping), () => becomes(cluster, awaited)];
  await create(cluster, mine());
  expect(await create(cluster, mine())).toMatchObject({ allow: true, pod: { spec: { nodeName: 'node-b' } } });
  expect(cluster.created).toHaveLength(1);
});

describe('a dry run', () => {
  test('has no side effects: it is said what would be done', async () => {
    const cluster = clusterWith();
    expect(await create(cluster, mine(), { dryRun: true })).toEqual({
      allow: true,
      warnings: ['pod web-7d9f-abcde would be moved to node node-b'],
    });
    expect(cluster.created).toEqual([]);
    expect(await create(cluster, mine({ ...asked, [to]: 'node-a' }), { dryRun: true })).toEqual(invalid(/already runs/));
  });

  test('waits for nothing', async () => {
    const cluster = clusterWith();
    cluster.meanwhile = [() => becomes(cluster, awaited)];
    await create(cluster, mine());
    becomes(cluster, shipping);
    cluster.nextChange = () => Promise.reject(new Error('waited'));
    expect(await create(cluster, mine(), { dryRun: true })).toMatchObject({ allow: false, code: 429 });
    becomes(cluster, awaited);
    expect(await create(cluster, mine(), { dryRun: true })).toMatchObject({ allow: true, pod: expect.anything() });
  });
});

describe('the deadline', () => {
  /** Aborts when the webhook waits for the third time. */
  const impatient = (cluster: FakeCluster) => {
    const deadline = new AbortController();
    cluster.meanwhile = [() => becomes(cluster, shipping), () => undefined, () => deadline.abort(new Error('the deadline'))];
    return deadline.signal;
  };

  // After the wait that the deadline ends, the Migration is read once more, with the signal that has aborted: the real client
  // (and this fake) throws, so the answer is 500 instead of 429 with the progress.
  test('is answered with the progress and the time to come back', async () => {
    const cluster = clusterWith();
    expect(await create(cluster, mine(), {}, impatient(cluster))).toEqual({
      allow: false,
      code: 429,
      reason: 'TooManyRequests',
      message: 'podferry: shipping pod web: 40 % of 1000 bytes; create the pod again to go on',
      retryAfterSeconds: 2,
    });
  });

  test('leaves the Migration as it is', async () => {
    const cluster = clusterWith();
    await create(cluster, mine(), {}, impatient(cluster)).catch(() => undefined);
    expect(cluster.created).toHaveLength(1);
    expect(cluster.migrations[0]?.status?.phase).toBe('Shipping');
  });
});

describe('a Migration that came to its end', () => {
  const ended = async (status: MigrationStatus) => {
    const cluster = clusterWith();
    cluster.meanwhile = [() => becomes(cluster, status)];
    return create(cluster, mine());
  };

  test.each(['Failed', 'RollingBack'] as const)('%s: why, and what to do', async (phase) => {
    const failure = { reason: 'CheckpointFailed', message: 'CRIU could not' } as const;
    expect(await ended({ phase, failure })).toEqual(invalid(/Migration mine-\w+ failed: CRIU could not; delete it to try again/));
    expect(await ended({ phase })).toEqual(invalid(/failed: see its conditions/));
  });

  test.each(['Restoring', 'CleaningUp', 'Succeeded'] as const)('%s: it has its pod', async (phase) => {
    expect(await ended({ ...awaited, phase })).toEqual(invalid(/already has its target pod/));
  });

  test('one for another destination, or for another pod of that name, is another one', async () => {
    const made = async (annotations: Record<string, string>, uid: string): Promise<Migration | undefined> => {
      const cluster = clusterWith(pod({ metadata: { uid } }));
      cluster.meanwhile = [() => becomes(cluster, awaited)];
      await create(cluster, mine(annotations));
      return cluster.created[0];
    };
    const names = await Promise.all([made(asked, 'a'), made({ ...asked, [to]: 'node-c' }, 'a'), made(asked, 'b')]);
    expect(new Set(names.map((migration) => migration?.metadata.name)).size).toBe(3);
  });
});
