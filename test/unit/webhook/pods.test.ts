import type { Migration, MigrationStatus } from '../../../src/api/migration.ts';
import { internalAnnotations } from '../../../src/api/names.ts';
import type { Pod } from '../../../src/api/pod.ts';
import { reviewPod } from '../../../src/webhook/pods.ts';
import { deepFreeze, migration, ownedBy, ownerUid, type PodChange, pod } from '../plan/objects.ts';
import { controllerUser, FakeCluster, patient, requestOf, withAnnotation } from './requests.ts';

const migrateTo = 'podferry.io/migrate-to';
const pass = { allow: true };
const invalid = (message: RegExp) => ({ allow: false, code: 422, reason: 'Invalid', message: expect.stringMatching(message) });
const forbidden = (message: RegExp) => ({ allow: false, code: 403, reason: 'Forbidden', message: expect.stringMatching(message) });

describe('a running pod is asked to move', () => {
  const update = (cluster: FakeCluster, after: Pod, before = pod(), username = 'anna') =>
    reviewPod(cluster, deepFreeze(requestOf('UPDATE', after, { oldObject: before, userInfo: { username } })), patient);
  const asking = (value: string, change: PodChange = {}) => withAnnotation(pod(change), migrateTo, value);

  test.each(['auto', 'node-b', 'ip-10-0-0-1.eu.internal'])('to %s by one who may: the request is marked', async (destination) => {
    const cluster = new FakeCluster();
    const after = asking(destination);
    expect(await update(cluster, after)).toEqual({ allow: true, pod: withAnnotation(after, 'podferry.io/request', 'admission-1') });
    expect(cluster.askedFor).toEqual(['anna in shop']);
    expect(cluster.created).toEqual([]);
  });

  test('by one who may not', async () => {
    const cluster = new FakeCluster();
    cluster.access = { allowed: false, reason: 'no role allows it' };
    expect(await update(cluster, asking('auto'))).toEqual(
      forbidden(/user anna may not create migrations\.podferry\.io in namespace shop: no role allows it/),
    );
  });

  test.each(['', 'Node B', 'node_b', '-node', 'node-', 'x'.repeat(254)])('to %j, which no node can be named', async (destination) => {
    expect(await update(new FakeCluster(), asking(destination))).toEqual(invalid(/neither the name of a node nor "auto"/));
  });

  // The pattern lets empty parts through; RFC 1123 does not.
  test.each(['node..b', 'node.-b', 'node-.b'])('to %j, which no node can be named either', async (destination) => {
    expect(await update(new FakeCluster(), asking(destination))).toEqual(invalid(/neither the name of a node nor "auto"/));
  });

  test('one that cannot, now or ever', async () => {
    expect(await update(new FakeCluster(), asking('auto', { spec: { hostNetwork: true } }))).toEqual(invalid(/hostNetwork/));
    expect(await update(new FakeCluster(), asking('auto', { status: { phase: 'Pending' } }))).toEqual(invalid(/is Pending/));
  });

  test('one that moves already; a migration that ended is no hindrance', async () => {
    const cluster = new FakeCluster();
    cluster.migrations = [migration({ status: { phase: 'Shipping' } })];
    expect(await update(cluster, asking('auto'))).toEqual(invalid(/already moved by Migration move-web/));
    cluster.migrations = [migration({ status: { phase: 'Failed' } }), migration({ metadata: { namespace: 'other' } })];
    expect(await update(cluster, asking('auto'))).toMatchObject({ allow: true, pod: expect.anything() });
  });

  test('an update that asks nothing new passes, and nobody is asked', async () => {
    const cluster = new FakeCluster();
    cluster.access = { allowed: false, reason: 'no' };
    const marked = withAnnotation(asking('auto'), 'podferry.io/request', 'admission-0');
    expect(await update(cluster, pod({ metadata: { labels: {} } }))).toEqual(pass);
    expect(await update(cluster, marked, marked)).toEqual(pass);
    expect(await update(cluster, withAnnotation(pod(), 'podferry.io/request', 'admission-0'), marked)).toEqual(pass);
    expect(cluster.askedFor).toEqual([]);
  });

  test.each(Object.values(internalAnnotations))("%s is podferry's own: not set, not changed, not removed by others", async (name) => {
    const cluster = new FakeCluster();
    const bearing = withAnnotation(pod(), name, 'x');
    for (const [after, before] of [
      [bearing, pod()],
      [withAnnotation(pod(), name, 'y'), bearing],
      [pod(), bearing],
      [withAnnotation(asking('auto'), name, 'x'), pod()],
    ] as const) {
      expect(await update(cluster, after, before)).toEqual(forbidden(new RegExp(`only podferry itself sets the annotation ${name}`)));
      expect(await update(cluster, after, before, controllerUser)).toEqual(pass);
    }
  });

  test('other operations pass', async () => {
    expect(await reviewPod(new FakeCluster(), requestOf('DELETE', pod()), patient)).toEqual(pass);
    expect(await reviewPod(new FakeCluster(), requestOf('CONNECT', pod()), patient)).toEqual(pass);
  });
});

describe('a pod is created', () => {
  const source = {
    name: 'web-7d9f-abcde',
    uid: 's',
    nodeName: 'node-a',
    owner: { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-7d9f', uid: ownerUid },
  };
  const switching = (name: string, status: MigrationStatus = {}): Migration =>
    migration({
      metadata: { name, uid: `uid-of-${name}` },
      status: {
        phase: 'Switching',
        switchKind: 'Release',
        source,
        target: { name: `web-7d9f-${name}`, nodeName: `node-of-${name}` },
        ...status,
      },
    });
  const bare = switching('one', {
    switchKind: 'Recreate',
    source: { name: 'db', uid: 's', nodeName: 'node-a' },
    target: { name: 'db', nodeName: 'node-b' },
  });
  /** As a ReplicaSet creates it: a prefix and no name. */
  const replacement = (change: Partial<Pod['metadata']> = {}): Pod => {
    const made = pod({ metadata: { ...ownedBy('ReplicaSet'), generateName: 'web-7d9f-', ...change } });
    delete (made.metadata as Partial<Pod['metadata']>).name;
    delete (made.metadata as Partial<Pod['metadata']>).namespace;
    delete made.status;
    return made;
  };
  const create = (
    cluster: FakeCluster,
    object: Pod,
    username = 'system:serviceaccount:kube-system:replicaset-controller',
    uid = 'admission-1',
  ) => reviewPod(cluster, deepFreeze(requestOf('CREATE', object, { uid, userInfo: { username } })), patient);
  const clusterOf = (...migrations: Migration[]) => Object.assign(new FakeCluster(), { migrations });
  const becomes = (name: string, uid: string) => ({
    allow: true,
    pod: expect.objectContaining({
      metadata: expect.objectContaining({ name, annotations: expect.objectContaining({ 'podferry.io/migration-uid': uid }) }),
    }),
  });

  test('the one that a migration waits for becomes its target, on the destination', async () => {
    const verdict = await create(clusterOf(switching('one')), replacement());
    expect(verdict).toEqual(becomes('web-7d9f-one', 'uid-of-one'));
    expect(verdict).toMatchObject({ pod: { spec: { nodeName: 'node-of-one' } } });
  });

  test('others pass: of another owner, of none, or when none waits', async () => {
    const cluster = clusterOf(switching('one'), bare);
    expect(await create(cluster, replacement(ownedBy('ReplicaSet', 'web-7d9f', 'another')))).toEqual(pass);
    expect(await create(cluster, pod({ metadata: { name: 'other' } }), 'anna')).toEqual(pass);
    // A pod without an owner continues another only when podferry's own controller says so.
    expect(await create(cluster, pod({ metadata: { name: 'db' } }), 'anna')).toEqual(pass);
    expect(await create(clusterOf(switching('one', { phase: 'Restoring' })), replacement())).toEqual(pass);
    expect(await create(clusterOf(), replacement())).toEqual(pass);
  });

  test('what the cache says is looked up before it counts', async () => {
    const cluster = clusterOf(switching('one', { phase: 'Restoring' }));
    cluster.activeMigrations = () => [switching('one')];
    expect(await create(cluster, replacement())).toEqual(pass);
    cluster.migrations = [];
    expect(await create(cluster, replacement())).toEqual(pass);
  });

  test('one target each: with the name taken the next pod is an ordinary one', async () => {
    const cluster = clusterOf(switching('one'));
    cluster.pods = [pod({ metadata: { name: 'web-7d9f-one' } })];
    expect(await create(cluster, replacement())).toEqual(pass);
  });

  test('two migrations of one owner: pods spread over both, and one pod never becomes two', async () => {
    const cluster = clusterOf(switching('one'), switching('two'));
    const names = new Map<string, number>();
    for (let index = 0; index < 40; index++) {
      const verdict = await create(cluster, replacement(), undefined, `admission-${index}`);
      const target = verdict.allow ? verdict.pod : undefined;
      const { name = '', annotations = {} } = target?.metadata ?? {};
      expect(annotations['podferry.io/migration-uid']).toBe(`uid-of-${name.slice('web-7d9f-'.length)}`);
      expect(target?.spec.nodeName).toBe(`node-of-${name.slice('web-7d9f-'.length)}`);
      names.set(name, (names.get(name) ?? 0) + 1);
    }
    expect([...names.keys()].sort()).toEqual(['web-7d9f-one', 'web-7d9f-two']);
    expect(Math.min(...names.values())).toBeGreaterThan(5);
    // The same request asked again is answered the same.
    expect(await create(cluster, replacement(), undefined, 'admission-7')).toEqual(
      await create(cluster, replacement(), undefined, 'admission-7'),
    );
    // With one target there, the second pod is the other's.
    cluster.pods = [pod({ metadata: { name: 'web-7d9f-one' } })];
    for (let index = 0; index < 5; index++) {
      expect(await create(cluster, replacement(), undefined, `admission-${index}`)).toEqual(becomes('web-7d9f-two', 'uid-of-two'));
    }
  });

  test('a pod that the controller creates again names its migration', async () => {
    const named = withAnnotation(pod({ metadata: { name: 'db' } }), 'podferry.io/migration', 'one');
    expect(await create(clusterOf(bare), named, controllerUser)).toEqual(becomes('db', 'uid-of-one'));
    expect(await create(clusterOf({ ...bare, status: { ...bare.status, phase: 'Holding' } }), named, controllerUser)).toEqual(
      forbidden(/Migration one does not wait for pod db/),
    );
    expect(await create(clusterOf(), named, controllerUser)).toEqual(forbidden(/does not wait/));
  });

  test('while a move is undone the owner makes no second pod', async () => {
    const held = { steps: { held: '2026-11-24T12:00:00Z' } };
    const later = {
      allow: false,
      code: 429,
      reason: 'TooManyRequests',
      retryAfterSeconds: 1,
      message: expect.stringMatching(/gives pod .* back/),
    };
    expect(await create(clusterOf(switching('one', { phase: 'RollingBack', ...held })), replacement())).toEqual(later);
    expect(await create(clusterOf(switching('one', { phase: 'RollingBack' })), replacement())).toEqual(pass);
    const stateful = switching('one', { phase: 'Returning', switchKind: 'Recreate', source: { ...source, name: 'db-0' }, ...held });
    expect(await create(clusterOf(stateful), pod({ metadata: { ...ownedBy('StatefulSet'), name: 'db-0' } }))).toEqual(later);
    expect(await create(clusterOf(stateful), pod({ metadata: { ...ownedBy('StatefulSet'), name: 'db-1' } }))).toEqual(pass);
  });

  test('invoked again for its own work it says the same', async () => {
    for (const [waiting, object, username] of [
      [switching('one'), replacement(), undefined],
      [bare, withAnnotation(pod({ metadata: { name: 'db' } }), 'podferry.io/migration', 'one'), controllerUser],
    ] as const) {
      const cluster = clusterOf(waiting);
      const once = await create(cluster, object, username);
      const target = once.allow ? once.pod : undefined;
      expect(target).toBeDefined();
      // Still in the same request: no pod of the name is there yet.
      expect(await create(cluster, target as Pod, username)).toEqual(once);
    }
  });

  test('migrate-to on a new pod would move it without end', async () => {
    expect(await create(clusterOf(), withAnnotation(replacement(), migrateTo, 'auto'))).toEqual(invalid(/belongs on a running pod/));
  });

  describe('forged', () => {
    test.each(Object.values(internalAnnotations))('%s', async (name) => {
      const forged = withAnnotation(pod({ metadata: { name: 'db' } }), name, 'x');
      expect(await create(clusterOf(bare), forged, 'anna')).toEqual(forbidden(/only podferry itself sets the annotation/));
    });

    test('a uid of another migration, or of one that waits no more', async () => {
      const forged = (uid: string) =>
        withAnnotation(withAnnotation(pod({ metadata: { name: 'db' } }), 'podferry.io/migration', 'one'), 'podferry.io/migration-uid', uid);
      expect(await create(clusterOf(bare), forged('uid-of-two'), 'anna')).toEqual(forbidden(/migration-uid/));
      expect(await create(clusterOf({ ...bare, status: { ...bare.status, phase: 'Restoring' } }), forged('uid-of-one'), 'anna')).toEqual(
        forbidden(/migration-uid/),
      );
      expect(await create(clusterOf(), forged('uid-of-one'), 'anna')).toEqual(forbidden(/migration-uid/));
    });

    // With the right uid, which everybody can read who may read Migrations, reviewAgain takes anybody's pod for podferry's own:
    // the memory goes to a pod of the forger's making. The guard for those without the uid is passed by on this way.
    test('the right uid', async () => {
      const forged = withAnnotation(
        withAnnotation(pod({ metadata: { name: 'db' } }), 'podferry.io/migration', 'one'),
        'podferry.io/migration-uid',
        'uid-of-one',
      );
      expect(await create(clusterOf(bare), forged, 'anna')).toEqual(forbidden(/only podferry itself/));
    });
  });
});
