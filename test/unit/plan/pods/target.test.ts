import type { Migration, MigrationStatus } from '../../../../src/api/migration.ts';
import type { Pod } from '../../../../src/api/pod.ts';
import { completionIndex, isAwaitedBy, recreatable, toTarget } from '../../../../src/plan/pods/target.ts';
import { deepFreeze, digest, migration, migrationUid, namespace, ownedBy, ownerUid, pod, podUid } from '../objects.ts';

const source = { name: 'web-7d9f-abcde', uid: podUid, nodeName: 'node-a' };
const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-7d9f', uid: ownerUid };

function switching(status: MigrationStatus, spec: Partial<Migration['spec']> = {}): Migration {
  return deepFreeze(
    migration({ spec, status: { phase: 'Switching', source, target: { name: 'web-7d9f-zzzzz', nodeName: 'node-b' }, ...status } }),
  );
}

/** A pod as it is about to be created; `name` left out: the owner gives a prefix only. */
function created(name: string | undefined, metadata: Partial<Pod['metadata']> = {}): Pod {
  const made = pod({ metadata: { ...metadata, ...(name ? { name } : { generateName: 'web-7d9f-' }) } });
  if (!name) delete (made.metadata as Partial<Pod['metadata']>).name;
  delete made.status;
  return deepFreeze(made);
}

describe('the pod that a migration waits for', () => {
  test('Release: what the owner creates, without a name or with the very one', () => {
    const waiting = switching({ switchKind: 'Release', source: { ...source, owner } });
    expect(isAwaitedBy(waiting, created(undefined, ownedBy('ReplicaSet')))).toBe(true);
    expect(isAwaitedBy(waiting, created('web-7d9f-zzzzz', ownedBy('ReplicaSet')))).toBe(true);
    expect(isAwaitedBy(waiting, created('web-7d9f-yyyyy', ownedBy('ReplicaSet')))).toBe(false);
    expect(isAwaitedBy(waiting, created(undefined, ownedBy('ReplicaSet', 'web-7d9f', podUid)))).toBe(false);
    expect(isAwaitedBy(waiting, created(undefined))).toBe(false);
    const [reference] = ownedBy('ReplicaSet').ownerReferences;
    expect(isAwaitedBy(waiting, created(undefined, { ownerReferences: [{ ...owner, ...reference, controller: false }] }))).toBe(false);
  });

  test('Release of an indexed Job: the replacement has the same index', () => {
    const index = (value: string) => ({ annotations: { 'batch.kubernetes.io/job-completion-index': value } });
    const waiting = switching({ switchKind: 'Release', source: { ...source, owner, completionIndex: '3' } });
    expect(isAwaitedBy(waiting, created(undefined, { ...ownedBy('Job'), ...index('3') }))).toBe(true);
    expect(isAwaitedBy(waiting, created(undefined, { ...ownedBy('Job'), ...index('4') }))).toBe(false);
    expect(isAwaitedBy(waiting, created(undefined, ownedBy('Job')))).toBe(false);
    expect(completionIndex(created(undefined, index('0')))).toBe('0');
    expect(completionIndex(pod())).toBeUndefined();
  });

  test('Recreate: the name and the owner, or none of both', () => {
    const same = { name: 'db-0', nodeName: 'node-b' };
    const bare = switching({ switchKind: 'Recreate', target: same });
    const owned = switching({ switchKind: 'Recreate', source: { ...source, owner }, target: same });
    expect(isAwaitedBy(bare, created('db-0'))).toBe(true);
    expect(isAwaitedBy(bare, created('db-1'))).toBe(false);
    expect(isAwaitedBy(bare, created('db-0', ownedBy('StatefulSet')))).toBe(false);
    expect(isAwaitedBy(owned, created('db-0', ownedBy('StatefulSet')))).toBe(true);
    expect(isAwaitedBy(owned, created('db-0'))).toBe(false);
    expect(isAwaitedBy(owned, created(undefined, ownedBy('StatefulSet')))).toBe(false);
  });

  test('Provided: the name', () => {
    const waiting = switching({ switchKind: 'Provided', target: { name: 'mine', nodeName: 'node-b' } });
    expect(isAwaitedBy(waiting, created('mine'))).toBe(true);
    expect(isAwaitedBy(waiting, created('other'))).toBe(false);
    expect(isAwaitedBy(waiting, created(undefined))).toBe(false);
  });

  test('nobody before and after the switch, nor without target, source or kind', () => {
    const status: MigrationStatus = { switchKind: 'Release', source: { ...source, owner } };
    const replacement = created(undefined, ownedBy('ReplicaSet'));
    for (const phase of ['Pending', 'Preparing', 'Holding', 'Restoring', 'RollingBack', 'Returning', 'Succeeded', 'Failed'] as const) {
      expect(isAwaitedBy(switching({ ...status, phase }), replacement)).toBe(false);
    }
    expect(isAwaitedBy(switching({ ...status, target: { nodeName: 'node-b' } }), replacement)).toBe(false);
    expect(isAwaitedBy(switching({ source: { ...source, owner } }), replacement)).toBe(false);
    expect(isAwaitedBy(migration({ status: { phase: 'Switching', switchKind: 'Release' } }), replacement)).toBe(false);
    expect(isAwaitedBy(migration(), replacement)).toBe(false);
  });
});

describe('the target pod', () => {
  const checkpoint = (name: string, letter: string) => ({
    name,
    image: `${name}:v1`,
    baseImage: `${name}@${digest(letter)}`,
    checkpointImage: `localhost:5001/token/${name}:restore`,
  });
  const waiting = switching({ switchKind: 'Release', containers: [checkpoint('app', 'a'), checkpoint('proxy', 'b')] });
  const annotationsOf = (target: Pod) => target.metadata.annotations ?? {};
  const recorded = (target: Pod, name: string) => JSON.parse(annotationsOf(target)[`podferry.io/${name}`] ?? 'null');

  const replacement = deepFreeze(
    pod({
      metadata: { annotations: { team: 'shop', 'podferry.io/migrate-to': 'auto', 'podferry.io/request': 'x' }, generateName: 'web-7d9f-' },
      spec: {
        nodeName: '',
        initContainers: [
          { name: 'setup', image: 'setup:v1' },
          { name: 'proxy', image: 'proxy:v1', restartPolicy: 'Always', imagePullPolicy: 'Never' },
          { name: 'migrate', image: 'migrate:v1', restartPolicy: 'Never' },
        ],
        containers: [
          { name: 'other', image: 'other:v1', imagePullPolicy: 'IfNotPresent' },
          { name: 'app', image: 'app:v2', imagePullPolicy: 'IfNotPresent', env: [{ name: 'A', value: 'b' }], fieldOfTomorrow: 1 },
        ],
        fieldOfTomorrow: { a: [1] },
      },
    }),
  );

  test('images by the name of the container, pulled always; the rest of it as it was', () => {
    const { spec } = toTarget(waiting, replacement);
    expect(spec.containers).toEqual([
      { name: 'other', image: 'other:v1', imagePullPolicy: 'IfNotPresent' },
      {
        name: 'app',
        image: 'localhost:5001/token/app:restore',
        imagePullPolicy: 'Always',
        env: [{ name: 'A', value: 'b' }],
        fieldOfTomorrow: 1,
      },
    ]);
    expect(spec.nodeName).toBe('node-b');
    expect(spec.fieldOfTomorrow).toEqual({ a: [1] });
  });

  test('sidecars stay and are restored; init containers that have done their work are left out and remembered', () => {
    const target = toTarget(waiting, replacement);
    expect(target.spec.initContainers).toEqual([
      { name: 'proxy', image: 'localhost:5001/token/proxy:restore', restartPolicy: 'Always', imagePullPolicy: 'Always' },
    ]);
    expect(recorded(target, 'completed-init-containers')).toEqual(['setup', 'migrate']);
    const alone = toTarget(waiting, pod({ spec: { initContainers: [{ name: 'setup' }] } }));
    expect(alone.spec).not.toHaveProperty('initContainers');
    expect(annotationsOf(toTarget(waiting, pod()))).not.toHaveProperty('podferry.io/completed-init-containers');
  });

  test('name and annotations: what it is, what it was made from, and no request to move on', () => {
    const target = toTarget(waiting, replacement);
    expect(target.metadata).toMatchObject({ name: 'web-7d9f-zzzzz', namespace, labels: { app: 'web' } });
    expect(annotationsOf(target)).toMatchObject({
      team: 'shop',
      'podferry.io/migration': 'move-web',
      'podferry.io/migration-uid': migrationUid,
    });
    expect(annotationsOf(target)).not.toHaveProperty('podferry.io/migrate-to');
    expect(annotationsOf(target)).not.toHaveProperty('podferry.io/request');
    expect(recorded(target, 'original-images')).toEqual({ app: 'app:v1', proxy: 'proxy:v1' });
    expect(recorded(target, 'base-images')).toEqual({ app: `app@${digest('a')}`, proxy: `proxy@${digest('b')}` });
  });

  test('of one container each, the names need not be the same', () => {
    const one = switching({ switchKind: 'Provided', containers: [checkpoint('app', 'a')] });
    const target = toTarget(one, pod({ spec: { containers: [{ name: 'mine', image: 'app:v1' }] } }));
    expect(target.spec.containers[0]).toMatchObject({ name: 'mine', image: 'localhost:5001/token/app:restore' });
    expect(recorded(target, 'base-images')).toEqual({ mine: `app@${digest('a')}` });
    const two = toTarget(
      one,
      pod({
        spec: {
          containers: [
            { name: 'mine', image: 'x' },
            { name: 'b', image: 'y' },
          ],
        },
      }),
    );
    expect(two.spec.containers.map(({ image }) => image)).toEqual(['x', 'y']);
  });

  test('made of a target once more (reinvocation) it is the same', () => {
    const once = deepFreeze(toTarget(waiting, replacement));
    expect(toTarget(waiting, once)).toEqual(once);
  });

  test('a migration without a target has none', () => {
    expect(() => toTarget(migration(), pod())).toThrow('Migration move-web has no target yet');
  });

  // images.ts takes damaged annotations for none; here JSON.parse throws, so the webhook answers 500 however often the pod is created.
  test.each(['{', '{}', 'null', '7'])('a damaged record of init containers (%s) does not stop it', (text) => {
    const damaged = pod({
      metadata: { annotations: { 'podferry.io/completed-init-containers': text } },
      spec: { initContainers: [{ name: 'setup' }] },
    });
    expect(recorded(toTarget(waiting, damaged), 'completed-init-containers')).toEqual(['setup']);
  });
});

test('a manifest to create again: without what the server sets, with everything else', () => {
  const running = deepFreeze(
    pod({
      metadata: {
        ...ownedBy('StatefulSet', 'db'),
        resourceVersion: '7',
        generation: 2,
        creationTimestamp: '2026-11-24T10:00:00Z',
        deletionTimestamp: '2026-11-24T10:00:00Z',
        deletionGracePeriodSeconds: 30,
        managedFields: [{}],
        selfLink: '/x',
        finalizers: ['x'],
        generateName: 'web-',
        annotations: {
          team: 'shop',
          'podferry.io/migrate-to': 'auto',
          'podferry.io/request': 'x',
          'podferry.io/migration': 'before',
          'podferry.io/migration-uid': 'before',
          'podferry.io/base-images': '{}',
          'podferry.io/original-images': '{}',
          'podferry.io/completed-init-containers': '["setup"]',
        },
        fieldOfTomorrow: 1,
      },
      spec: {
        ephemeralContainers: [{}],
        hostname: 'db-0',
        subdomain: 'db',
        fieldOfTomorrow: { a: [1] },
        volumes: [{ name: 'a', emptyDir: {} }],
      },
    }),
  );
  expect(recreatable(running)).toEqual({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'web-7d9f-abcde',
      namespace,
      generateName: 'web-',
      labels: { app: 'web' },
      ...ownedBy('StatefulSet', 'db'),
      annotations: {
        team: 'shop',
        'podferry.io/base-images': '{}',
        'podferry.io/original-images': '{}',
        'podferry.io/completed-init-containers': '["setup"]',
      },
      fieldOfTomorrow: 1,
    },
    spec: {
      containers: [{ name: 'app', image: 'registry.example/shop/web:v1' }],
      hostname: 'db-0',
      subdomain: 'db',
      fieldOfTomorrow: { a: [1] },
      volumes: [{ name: 'a', emptyDir: {} }],
    },
  });
});
