import type { Pod } from '../../../src/api/pod.ts';
import type { MigrationPolicy } from '../../../src/api/policy.ts';
import { reviewPod } from '../../../src/webhook/pods.ts';
import type { AdmissionRequest } from '../../../src/webhook/review.ts';
import { deepFreeze, migration, namespace, ownedBy, ownerUid, type PodChange, pod } from '../plan/objects.ts';
import { policy } from '../plan/policy/policies.ts';
import { anna, FakeCluster, patient, requestOf, withAnnotation } from './requests.ts';

const note = 'podferry.io/prepared';
const pass = { allow: true };

function clusterOf(...migrationPolicies: MigrationPolicy[]): FakeCluster {
  return Object.assign(new FakeCluster(), { migrationPolicies });
}

/** As its creator sends it: without status, node and namespace. */
function draft(change: PodChange = {}): Pod {
  const made = pod(change);
  delete made.status;
  delete made.spec.nodeName;
  return made;
}

const create = (cluster: FakeCluster, object: Pod, change: Partial<AdmissionRequest> = {}) =>
  reviewPod(cluster, deepFreeze(requestOf('CREATE', object, { userInfo: anna, ...change })), patient);

const isPrepared = {
  allow: true,
  pod: expect.objectContaining({
    metadata: expect.objectContaining({ annotations: expect.objectContaining({ [note]: expect.any(String) }) }),
  }),
};

describe('which pods', () => {
  const yes = policy({ prepare: true });
  test.each<[string, MigrationPolicy[], boolean]>([
    ['no policy', [], false],
    ['one that says nothing', [policy()], false],
    ['one that says yes', [yes], true],
    ['one that says yes, whatever its triggers', [policy({ prepare: true, triggers: { eviction: false } })], true],
    ['one of another pod', [policy({ prepare: true, podSelector: { matchLabels: { app: 'db' } } })], false],
    ['one of another namespace', [policy({ prepare: true, namespaceSelector: { matchLabels: { team: 'x' } } })], false],
    ['one that is being deleted', [policy({ prepare: true }, { deletionTimestamp: '2026-11-24T10:00:00Z' })], false],
    ['one of a higher priority that says nothing', [yes, policy({ priority: 9 }, { name: 'other' })], true],
    ['one of a higher priority that says no', [yes, policy({ priority: 9, prepare: false }, { name: 'other' })], false],
    ['one of a lower priority that says no', [yes, policy({ priority: -1, prepare: false }, { name: 'other' })], true],
  ])('%s', async (_what, policies, prepared) => {
    expect(await create(clusterOf(...policies), draft())).toEqual(prepared ? isPrepared : pass);
  });

  test('the policy is named', async () => {
    const verdict = await create(clusterOf(policy({ prepare: true }, { name: 'keep-state' })), draft());
    expect(JSON.parse((verdict.allow && verdict.pod?.metadata.annotations?.[note]) || '')).toMatchObject({ policy: 'keep-state' });
  });

  test("podferry's own helpers are not covered", async () => {
    const helper = draft({ metadata: { labels: { 'podferry.io/role': 'placeholder' } }, spec: { hostPID: true } });
    expect(await create(clusterOf(yes), helper)).toEqual(pass);
  });

  test('a dry run gets the same answer', async () => {
    const cluster = clusterOf(yes);
    expect(await create(cluster, draft(), { dryRun: true })).toEqual(await create(cluster, draft()));
    expect(await create(cluster, draft(), { dryRun: true })).toEqual(isPrepared);
  });

  test('a copy of a prepared pod is not refused, and called again nothing changes', async () => {
    const cluster = clusterOf(yes);
    const once = await create(cluster, draft());
    expect(await create(cluster, (once.allow && once.pod) as Pod)).toEqual(pass);
    expect(await create(clusterOf(), withAnnotation(draft(), note, 'x'))).toEqual(pass);
  });
});

describe('warnings', () => {
  const hostNetwork = draft({ spec: { hostNetwork: true } });
  const claim = { name: 'data', persistentVolumeClaim: { claimName: 'data' } };
  const withClaim = draft({
    spec: { volumes: [claim, { ...claim, name: 'again' }, { name: 'none', persistentVolumeClaim: { claimName: 'missing' } }] },
  });

  test('of what cannot migrate, under any policy; such a pod is not changed', async () => {
    const warned = { allow: true, warnings: [expect.stringMatching(/^podferry: pod web-7d9f-abcde cannot migrate: it uses hostNetwork/)] };
    expect(await create(clusterOf(policy()), hostNetwork)).toEqual(warned);
    expect(await create(clusterOf(policy({ prepare: true })), hostNetwork)).toEqual(warned);
    expect(await create(clusterOf(), hostNetwork)).toEqual(pass);
  });

  test('of what could not be prepared, only where pods are prepared', async () => {
    const unconfined = draft({ spec: { securityContext: { seccompProfile: { type: 'Unconfined' } } } });
    expect(await create(clusterOf(policy({ prepare: true })), unconfined)).toEqual({
      ...isPrepared,
      warnings: [expect.stringMatching(/^podferry: pod web-7d9f-abcde has container app with seccompProfile Unconfined/)],
    });
    expect(await create(clusterOf(policy()), unconfined)).toEqual(pass);
  });

  test('of volumes, each read once', async () => {
    const cluster = clusterOf(policy());
    cluster.claims = [{ metadata: { name: 'data', namespace }, spec: { accessModes: ['ReadWriteMany'], volumeName: 'pv-1' } }];
    const terms = [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['node-a'] }] }];
    cluster.volumes = [{ metadata: { name: 'pv-1' }, spec: { nodeAffinity: { required: { nodeSelectorTerms: terms } } } }];
    expect(await create(cluster, withClaim)).toEqual({
      allow: true,
      warnings: [expect.stringMatching(/volume data .*on node node-a only/), expect.stringMatching(/volume again .*on node node-a only/)],
    });
    expect(cluster.readVolumes.sort()).toEqual(['pv-1', 'shop/data', 'shop/missing']);
  });

  test('a claim that may not be read, or takes too long, is no hindrance', async () => {
    const cluster = clusterOf(policy({ prepare: true }));
    cluster.claims = [{ metadata: { name: 'data', namespace }, spec: { accessModes: ['ReadWriteOnce'], volumeName: 'pv-1' } }];
    cluster.getVolume = async () => Promise.reject(new Error('403'));
    expect(await create(cluster, withClaim)).toEqual({
      ...isPrepared,
      warnings: [expect.stringMatching(/ReadWriteOnce;/), expect.stringMatching(/ReadWriteOnce;/)],
    });
    cluster.getVolumeClaim = (_namespace, _name, signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('too late'))));
    expect(await create(cluster, withClaim)).toEqual(isPrepared);
  });

  test('without a policy nothing is read', async () => {
    const cluster = clusterOf();
    await create(cluster, withClaim);
    expect(cluster.readVolumes).toEqual([]);
  });
});

describe('the target of a migration', () => {
  const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-7d9f', uid: ownerUid };
  const waiting = migration({
    status: {
      phase: 'Switching',
      switchKind: 'Release',
      source: { name: 'web-7d9f-abcde', uid: 's', nodeName: 'node-a', owner },
      target: { name: 'web-7d9f-moved', nodeName: 'node-b' },
      containers: [{ name: 'app', image: 'a', baseImage: 'b', checkpointImage: 'localhost:9441/token/app:restore' }],
    },
  });
  const userInfo = { username: 'system:serviceaccount:kube-system:replicaset-controller' };
  const replacement = () => {
    const made = draft({
      metadata: { ...ownedBy('ReplicaSet'), generateName: 'web-7d9f-' },
      spec: { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }] },
    });
    made.metadata.name = '';
    return made;
  };

  test('is prepared as its source was, so that after a crash it can migrate again; nothing is read for it', async () => {
    const cluster = Object.assign(clusterOf(policy({ prepare: true })), { migrations: [waiting] });
    const verdict = await create(cluster, replacement(), { userInfo });
    expect(verdict).toEqual({
      allow: true,
      pod: expect.objectContaining({
        metadata: expect.objectContaining({
          name: 'web-7d9f-moved',
          annotations: expect.objectContaining({ [note]: expect.any(String), 'podferry.io/migration': 'move-web' }),
        }),
        spec: expect.objectContaining({
          nodeName: 'node-b',
          securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
          containers: [
            expect.objectContaining({ image: 'localhost:9441/token/app:restore', env: [{ name: 'GODEBUG', value: 'multipathtcp=0' }] }),
          ],
        }),
      }),
    });
    expect(cluster.readVolumes).toEqual([]);
    expect(await create(cluster, (verdict.allow && verdict.pod) as Pod, { userInfo })).toEqual(verdict);
  });

  test('without a preparing policy it is as ever', async () => {
    const cluster = Object.assign(clusterOf(policy()), { migrations: [waiting] });
    const verdict = await create(cluster, replacement(), { userInfo });
    expect(verdict).toMatchObject({ pod: { metadata: { name: 'web-7d9f-moved' } } });
    expect(JSON.stringify(verdict)).not.toMatch(/GODEBUG|seccomp|prepared/);
  });
});

test('an error of ours is told and refuses nothing', async () => {
  const cluster = clusterOf();
  cluster.policies = () => {
    throw new Error('a bug');
  };
  expect(await create(cluster, draft())).toEqual({ allow: true, warnings: ['podferry: the pod was not prepared: a bug'] });
});

test('what is refused stays refused', async () => {
  const cluster = clusterOf(policy({ prepare: true }));
  expect(await create(cluster, withAnnotation(draft(), 'podferry.io/migrate-to', 'auto'))).toMatchObject({ allow: false, code: 422 });
});

describe('kubectl debug', () => {
  const debugged = (cluster: FakeCluster) =>
    reviewPod(
      cluster,
      requestOf('UPDATE', pod({ spec: { ephemeralContainers: [{ name: 'debugger' }] } }), {
        oldObject: pod(),
        subResource: 'ephemeralcontainers',
      }),
      patient,
    );

  test('is warned about on covered pods only', async () => {
    expect(await debugged(clusterOf(policy()))).toEqual({
      allow: true,
      warnings: [expect.stringMatching(/cannot migrate while its ephemeral container debugger runs/)],
    });
    expect(await debugged(clusterOf())).toEqual(pass);
  });
});
