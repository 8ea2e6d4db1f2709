import { type EvictionReview, parseEviction, reviewEviction } from '../../../src/webhook/evictions.ts';
import { ago, statusAt } from '../plan/migration/observations.ts';
import { pod, podUid } from '../plan/objects.ts';
import { failed, made, policy } from '../plan/policy/policies.ts';
import { anna, evictionOf, FakeCluster, patient, reviewOf } from './requests.ts';

const asked: EvictionReview = { uid: 'admission-1', namespace: 'shop', name: 'web-7d9f-abcde', dryRun: false, userInfo: anna };
const pass = { allow: true };
const later = (message: string) => ({ allow: false, code: 429, reason: 'TooManyRequests', message });

/** The pod runs, and a policy covers it. */
function covered(spec: Parameters<typeof policy>[0] = {}): FakeCluster {
  const cluster = new FakeCluster();
  cluster.pods = [pod()];
  cluster.migrationPolicies = [policy(spec)];
  return cluster;
}

const review = (cluster: FakeCluster, change: Partial<EvictionReview> = {}) => reviewEviction(cluster, { ...asked, ...change }, patient);

describe('what is asked', () => {
  const parsed = (change: Record<string, unknown> = {}) => parseEviction(reviewOf(evictionOf(pod(), change)));

  test('of which pod, by whom', () => {
    expect(parsed()).toEqual({ request: asked });
    expect(parsed({ userInfo: null })).toMatchObject({ request: { userInfo: {} } });
  });

  test.each([
    ['of the request', { dryRun: true }, true],
    ['of the delete options', { object: { deleteOptions: { dryRun: ['All'] } } }, true],
    ['neither', { object: { deleteOptions: { dryRun: [] } } }, false],
    ['no options', { object: { deleteOptions: null } }, false],
    ['no object', { object: null }, false],
    ['not said', { dryRun: undefined }, false],
  ])('a dry run: %s', (_what, change, dryRun) => {
    expect(parsed(change)).toMatchObject({ request: { dryRun } });
  });

  test('of which very pod', () => {
    const preconditions = { uid: podUid };
    expect(parsed({ object: { deleteOptions: { preconditions } } })).toMatchObject({ request: { preconditions } });
  });

  const envelope = 'expected an AdmissionReview of admission.k8s.io/v1 with a request';
  const about = 'the request is not about an Eviction of a pod';
  test.each([
    [undefined, '', envelope],
    [null, '', envelope],
    ['text', '', envelope],
    [[], '', envelope],
    [{ ...reviewOf(evictionOf(pod())), kind: 'Review' }, 'admission-1', envelope],
    [{ ...reviewOf(evictionOf(pod())), apiVersion: 'admission.k8s.io/v2' }, 'admission-1', envelope],
    [reviewOf(undefined), '', envelope],
    [reviewOf(evictionOf(pod(), { uid: '' })), '', envelope],
    [reviewOf(evictionOf(pod(), { uid: 7 })), '', envelope],
    [reviewOf(evictionOf(pod(), { kind: undefined })), 'admission-1', about],
    [reviewOf(evictionOf(pod(), { kind: { kind: 'Pod' } })), 'admission-1', about],
    [reviewOf(evictionOf(pod(), { name: 7 })), 'admission-1', about],
    [reviewOf(evictionOf(pod(), { namespace: undefined })), 'admission-1', about],
  ])('no eviction: %j', (body, uid, problem) => {
    expect(parseEviction(body)).toEqual({ uid, problem });
  });
});

test('a pod that is not there, or that no policy covers, is not ours to keep', async () => {
  const cluster = covered();
  expect(await review(cluster, { name: 'other' })).toEqual(pass);
  expect(await review(cluster, { namespace: 'bank' })).toEqual(pass);
  cluster.migrationPolicies = [policy({ triggers: { eviction: false, cordon: true } })];
  expect(await review(cluster)).toEqual(pass);
  expect(cluster.created).toEqual([]);
});

test('policies see the labels of the namespace and of the pod', async () => {
  const cluster = covered({ namespaceSelector: { matchLabels: { team: 'shop' } }, podSelector: { matchLabels: { app: 'web' } } });
  expect(await review(cluster)).toEqual(pass);
  cluster.labels = { shop: { team: 'shop' } };
  expect(await review(cluster)).toEqual(later('podferry: waiting to migrate'));
});

test('a dry run makes nothing', async () => {
  const cluster = covered();
  expect(await review(cluster, { dryRun: true })).toEqual(pass);
  expect(cluster.created).toEqual([]);
});

test.each([
  ['uid', { uid: 'another' }],
  ['version', { resourceVersion: '1' }],
  ['version, the uid being right', { uid: podUid, resourceVersion: '1' }],
])('an eviction of a pod of another %s is left to the API server to refuse', async (_what, preconditions) => {
  const cluster = covered();
  cluster.pods = [pod({ metadata: { resourceVersion: '7' } })];
  expect(await review(cluster, { preconditions })).toEqual(pass);
  expect(cluster.created).toEqual([]);
});

test('an eviction that names just the pod that is there', async () => {
  const cluster = covered();
  cluster.pods = [pod({ metadata: { resourceVersion: '7' } })];
  expect(await review(cluster, { preconditions: { uid: podUid, resourceVersion: '7' } })).toEqual(later('podferry: waiting to migrate'));
});

test('one that just arrived is moved on only if its new node is cordoned', async () => {
  const cluster = covered();
  cluster.migrations = [made(statusAt('Succeeded', { target: { nodeName: 'node-a', uid: podUid }, steps: { finished: ago(3) } }))];
  expect(await review(cluster)).toMatchObject({ code: 404 });
  cluster.cordoned = ['node-b'];
  expect(await review(cluster)).toMatchObject({ code: 404 });
  cluster.cordoned = ['node-a'];
  expect(await review(cluster)).toEqual(later('podferry: waiting to migrate'));
});

test('who asks is written down', async () => {
  const cluster = covered();
  await review(cluster);
  expect(cluster.created[0]?.metadata.annotations?.['podferry.io/requested-by']).toBe('anna');
  const nobody = covered();
  await review(nobody, { userInfo: {} });
  expect(nobody.created[0]?.metadata.annotations).not.toHaveProperty('podferry.io/requested-by');
});

test('however many ask, and however late the cache is, one Migration is made', async () => {
  const cluster = covered();
  cluster.migrationsOf = () => [];
  const answers = await Promise.all(['anna', 'bob', 'carol'].map((username) => review(cluster, { userInfo: { username } })));
  answers.push(await review(cluster));
  expect(answers).toEqual(answers.map(() => later('podferry: waiting to migrate')));
  expect(new Set(cluster.created.map(({ metadata }) => metadata.name)).size).toBe(1);
  expect(cluster.migrations.length).toBe(cluster.created.length);
});

test('a try that has failed already, which the cache does not show: said so, and the next who asks makes another', async () => {
  const cluster = covered();
  await review(cluster);
  const [first] = cluster.migrations;
  if (!first) throw new Error('no Migration was made');
  first.status = { phase: 'Failed', failure: { reason: 'RestoreFailed', message: 'CRIU said no' } };
  const cached = cluster.migrationsOf;
  cluster.migrationsOf = () => [];
  expect(await review(cluster)).toEqual(later('podferry: CRIU said no'));
  delete first.status.failure;
  expect(await review(cluster)).toEqual(later('podferry: it is tried again'));
  expect(cluster.created).toHaveLength(1);
  cluster.migrationsOf = cached;
  expect(await review(cluster)).toEqual(later('podferry: waiting to migrate'));
  expect(cluster.created).toHaveLength(2);
});

test('while it is moved nothing is made, and the progress is told', async () => {
  const cluster = covered();
  cluster.migrations = [made(statusAt('Restoring'))];
  expect(await review(cluster)).toEqual(later('podferry: migrating to node-b, restoring'));
  expect(cluster.created).toEqual([]);
});

test('kubectl drain of a pod that keeps its name: moved, then not found for half a minute, for that user', async () => {
  const cluster = covered();
  const arrived = (seconds: number) =>
    made(statusAt('Succeeded', { target: { nodeName: 'node-a', uid: podUid, name: 'web-7d9f-abcde' }, steps: { finished: ago(seconds) } }));
  cluster.migrations = [arrived(2)];
  expect(await review(cluster)).toEqual({ allow: false, code: 404, reason: 'NotFound', message: expect.stringContaining('was moved') });
  expect(cluster.created).toEqual([]);
  expect(await review(cluster, { userInfo: { username: 'bob' } })).toEqual(later('podferry: waiting to migrate'));
  cluster.migrations = [arrived(31)];
  expect(await review(cluster)).toEqual(later('podferry: waiting to migrate'));
});

describe('when it cannot be moved', () => {
  test('Block: refused for good, with the way out', async () => {
    const cluster = covered({ retries: 0 });
    cluster.migrations = [failed('try-1', 'node-b')];
    expect(await review(cluster)).toEqual(
      later(expect.stringMatching(/kubectl delete pod -n shop web-7d9f-abcde, or set onFailure: Evict$/) as unknown as string),
    );
    expect(cluster.given).toEqual([]);
    expect(cluster.created).toEqual([]);
  });

  test('Evict: it goes, who asks is warned and who looks at the pod is told', async () => {
    const cluster = covered({ retries: 0, onFailure: 'Evict' });
    cluster.migrations = [failed('try-1', 'node-b')];
    const why = 'it could not be moved in 1 tries (the last: try-1 did not work)';
    expect(await review(cluster)).toEqual({
      allow: true,
      warnings: [`podferry: pod web-7d9f-abcde is evicted without its memory: ${why}`],
    });
    expect(cluster.given).toEqual([{ pod: 'web-7d9f-abcde', message: why }]);
  });

  test('nobody is told of a pod that goes as ever, or in a dry run', async () => {
    const cluster = covered({ retries: 0, onFailure: 'Evict' });
    cluster.migrations = [failed('try-1', 'node-b')];
    expect(await review(cluster, { dryRun: true })).toEqual(pass);
    cluster.migrationPolicies = [];
    expect(await review(cluster)).toEqual(pass);
    expect(cluster.given).toEqual([]);
  });
});

test('errors of the cluster are not swallowed: the pod is neither passed nor kept by them', async () => {
  const cluster = covered();
  await expect(reviewEviction(cluster, asked, AbortSignal.abort(new Error('too late')))).rejects.toThrow('too late');
  cluster.createMigration = () => Promise.reject(new Error('quota'));
  await expect(review(cluster)).rejects.toThrow('quota');
});

test('for a pod that waits for its turn the API server is not asked', async () => {
  const cluster = covered();
  cluster.migrations = [made({ phase: 'Pending', queuePosition: 7 }, { spec: { pod: asked.name } })];
  let reads = 0;
  const { getPod } = cluster;
  cluster.getPod = (...ref) => {
    reads++;
    return getPod.apply(cluster, ref);
  };
  expect(await review(cluster)).toEqual(later('podferry: waiting for its turn to migrate (position 7)'));
  expect(reads).toBe(0);
  // A dry run passes whatever is under way.
  expect(await review(cluster, { dryRun: true })).toEqual(pass);
  expect(reads).toBe(1);
});
