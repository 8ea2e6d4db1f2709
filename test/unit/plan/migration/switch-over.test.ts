import { isTarget } from '../../../../src/plan/migration/switch-over.ts';
import { ownedBy, ownerUid, pod, podUid, targetUid } from '../objects.ts';
import {
  actionTypes,
  ago,
  expectFailure,
  observeAt,
  owner,
  placeholder,
  planOf,
  said,
  source,
  targetName,
  targetPod,
} from './observations.ts';

const switching = (change: Parameters<typeof observeAt>[1] = {}, status: Parameters<typeof observeAt>[2] = {}) =>
  observeAt('Switching', change, status);
const late = { steps: { held: ago(60) } };

describe('Release', () => {
  test('all labels are taken off, so that the owner lets it go; ours say what it is', () => {
    const sourcePod = pod({
      metadata: { ...ownedBy('ReplicaSet'), resourceVersion: '7', labels: { app: 'web', 'pod-template-hash': '7d9f' } },
    });
    const plan = planOf(switching({ sourcePod }));
    expect(plan.actions).toEqual([
      {
        type: 'releasePod',
        name: 'web-7d9f-abcde',
        resourceVersion: '7',
        uid: podUid,
        labels: ['app', 'pod-template-hash'],
        add: { 'podferry.io/role': 'source', 'podferry.io/migration': 'move-web', 'app.kubernetes.io/managed-by': 'podferry' },
      },
    ]);
    expect(plan.requeueAfter).toBe(50_000);
    expect(said(plan)).toMatchObject({ reason: 'Switching', message: `waiting for pod ${targetName} to be created` });
  });

  test('once; a source that is gone or another pod is left alone', () => {
    const released = pod({ metadata: { labels: { 'podferry.io/role': 'source' } } });
    for (const sourcePod of [released, undefined, pod({ metadata: { uid: 'another' } })]) {
      expect(planOf(switching({ sourcePod })).actions).toEqual([]);
    }
  });

  test('the placeholder makes room for the target, once', () => {
    const room = { type: 'deletePod', name: 'web-7d9f-abcde-room-x', uid: 'room', gracePeriodSeconds: 0 };
    expect(planOf(switching({ placeholder: placeholder() }))).toMatchObject({ meanwhile: [room], actions: [{ type: 'releasePod' }] });
    expect(planOf(switching({ placeholder: placeholder(), sourcePod: undefined }))).toMatchObject({ meanwhile: [room], actions: [] });
    expect(actionTypes(planOf(switching({ placeholder: placeholder({ metadata: { deletionTimestamp: ago(0) } }) })))).toEqual([
      'releasePod',
    ]);
  });
});

describe('Recreate', () => {
  const manifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: source.name, annotations: { team: 'shop' } },
    spec: { containers: [] },
  };
  const bare = {
    switchKind: 'Recreate',
    source: { name: source.name, uid: podUid, nodeName: 'node-a', manifest },
    target: { nodeName: 'node-b', name: source.name },
  } as const;
  const owned = { ...bare, source: { ...bare.source, owner } } as const;
  const recreation = {
    type: 'createPod',
    pod: { ...manifest, metadata: { ...manifest.metadata, annotations: { team: 'shop', 'podferry.io/migration': 'move-web' } } },
  };

  test('the source goes, by its uid and at once, and comes back under its name', () => {
    const sourcePod = pod({ metadata: { resourceVersion: '7' } });
    expect(planOf(switching({ sourcePod, targetPod: sourcePod }, bare)).actions).toEqual([
      { type: 'deletePod', name: source.name, uid: podUid, resourceVersion: '7', gracePeriodSeconds: 0 },
      recreation,
    ]);
  });

  test('the placeholder goes while the phase is written, before the source does and anything is created', () => {
    const [sourcePod, room] = [pod({ metadata: { resourceVersion: '7' } }), placeholder()];
    const deletion = { type: 'deletePod', gracePeriodSeconds: 0 };
    expect(planOf(switching({ sourcePod, targetPod: sourcePod, placeholder: room }, bare))).toMatchObject({
      meanwhile: [{ ...deletion, uid: 'room' }],
      actions: [{ ...deletion, uid: podUid }, recreation],
    });
    expect(planOf(switching({ sourcePod: undefined, placeholder: room }, bare))).toMatchObject({
      meanwhile: [{ ...deletion, uid: 'room' }],
      actions: [recreation],
    });
  });

  test('gone already it is only created', () => {
    expect(planOf(switching({ sourcePod: undefined }, bare)).actions).toEqual([recreation]);
    expect(planOf(switching({ sourcePod: undefined }, owned)).actions).toEqual([recreation]);
  });

  test("a pod of the owner without the memory makes room; somebody else's is waited for", () => {
    const empty = pod({ metadata: { ...ownedBy('StatefulSet', 'web', ownerUid), uid: 'empty' } });
    const theirs = pod({ metadata: { uid: 'theirs' } });
    const gone = { type: 'deletePod', name: source.name, uid: 'empty', gracePeriodSeconds: 0 };
    expect(planOf(switching({ sourcePod: empty, targetPod: empty }, owned)).actions).toEqual([gone]);
    expect(planOf(switching({ sourcePod: theirs, targetPod: theirs }, owned)).actions).toEqual([]);
    expect(planOf(switching({ sourcePod: theirs, targetPod: theirs }, bare)).actions).toEqual([]);
  });
});

test('Provided: somebody else creates it', () => {
  expect(planOf(switching({}, { switchKind: 'Provided' })).actions).toEqual([]);
  const plan = planOf(switching({}, { switchKind: 'Provided', ...late }));
  expectFailure(plan, 'RollingBack', 'TargetNotCreated', /not created within 60 s; delete the Migration and create the pod again/);
});

test('the target is here: rewritten by the webhook for this very migration', () => {
  const plan = planOf(switching({ targetPod: targetPod() }));
  expect(plan).toMatchObject({
    actions: [],
    status: { phase: 'Restoring', target: { uid: targetUid, name: targetName, nodeName: 'node-b' }, steps: { created: ago(0) } },
  });
  expect(said(plan)).toMatchObject({ reason: 'Restoring', message: `pod ${targetName} is restored on node node-b` });
  // Even when the time is over, or somebody deletes the Migration: there is a target now.
  const cancelled = switching({ targetPod: targetPod() }, late);
  cancelled.migration.metadata.deletionTimestamp = ago(0);
  expect(planOf(cancelled).status?.phase).toBe('Restoring');
});

test('a pod of that name that is not for this migration is no target', () => {
  for (const annotations of [{}, { 'podferry.io/migration-uid': 'another' }]) {
    const other = targetPod({ metadata: { annotations } });
    expect(isTarget(switching(), other)).toBe(false);
    expect(planOf(switching({ targetPod: other })).status?.phase).toBe('Switching');
  }
});

test('not created in time, or no longer wanted', () => {
  expectFailure(
    planOf(switching({}, late)),
    'RollingBack',
    'TargetNotCreated',
    /web-7d9f-zzzzz was not created within 60 s; see the events of its ReplicaSet/,
  );
  const bare = { switchKind: 'Recreate', source: { name: source.name, uid: podUid, nodeName: 'node-a' }, ...late } as const;
  expectFailure(planOf(switching({}, bare)), 'RollingBack', 'TargetNotCreated', /see the events of its namespace/);
  const cancelled = switching();
  cancelled.migration.metadata.deletionTimestamp = ago(0);
  expectFailure(planOf(cancelled), 'RollingBack', 'Cancelled', /the Migration was deleted/);
});

test('a status without source or target rolls back rather than guesses', () => {
  expectFailure(planOf(switching({}, { target: { nodeName: 'node-b' } })), 'RollingBack', 'TargetNotCreated', /lost its source or target/);
  expectFailure(planOf(switching({}, { source: undefined as never })), 'RollingBack', 'TargetNotCreated', /lost its source or target/);
});
