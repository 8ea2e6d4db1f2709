import type { SourceErrorStep } from '../../../../src/api/agent.ts';
import { refuseRoom } from '../../../../src/plan/room.ts';
import { migration, migrationUid, ownedBy, pod } from '../objects.ts';
import {
  actionsOf,
  actionTypes,
  ago,
  checkpointImage,
  expectFailure,
  observeAt,
  planOf,
  said,
  silent,
  source,
  sourceIs,
  statusAt,
  targetIs,
  written,
} from './observations.ts';

const frozenAt = '2026-11-24T11:59:58.250Z';
const containers = (bytesSent: number) => [{ name: 'app', archiveBytes: 1000, bytesSent }];
const fresh = { leaseLeft: 29_000 };

test("freezing: the source's agent is asked once, with all it needs", () => {
  const sourcePod = pod({ metadata: ownedBy('ReplicaSet'), spec: { volumes: [{ name: 'cache', emptyDir: {} }] } });
  const plan = planOf(observeAt('Freezing', { sourcePod, source: sourceIs('Unknown'), destination: targetIs('Prepared') }));
  expect(plan.actions).toEqual([
    {
      type: 'setSource',
      nodeName: 'node-a',
      request: {
        goal: 'Shipped',
        namespace: 'shop',
        pod: 'web-7d9f-abcde',
        podUid: sourcePod.metadata.uid,
        nodeName: 'node-a',
        freezeMilliseconds: 300_000,
        leaseMilliseconds: 30_000,
        transfer: 'Direct',
        containers: [{ name: 'app', rootfsImageRef: expect.stringContaining('localhost:5001/token/app@sha256:') }],
        volumes: ['cache'],
        keepVolumes: true,
        destination: { address: '10.0.0.2:7443', repository: 'token', nodeName: 'node-b' },
      },
    },
  ]);
  expect(plan.requeueAfter).toBe(10_000);
});

test('the source is told what is free on the destination, if that is known', () => {
  const destination = targetIs('Prepared', { contentDirectory: '/content', freeBytes: 0 });
  expect(planOf(observeAt('Freezing', { source: sourceIs('Unknown'), destination })).actions).toMatchObject([
    { request: { destination: { contentDirectory: '/content', freeBytes: 0 } } },
  ]);
});

test('volumes of a pod whose name has to be freed are kept', () => {
  const observation = observeAt('Freezing', { source: sourceIs('Unknown'), destination: targetIs('Prepared') }, { switchKind: 'Recreate' });
  expect(planOf(observation).actions[0]).toMatchObject({ request: { keepVolumes: true } });
});

describe('bytes per second', () => {
  const at = (told: number | null | undefined, bytesPerSecond: number | undefined, state: 'Unknown' | 'Frozen' | 'Shipped' = 'Frozen') =>
    planOf(
      observeAt('Checkpointing', {
        source: sourceIs(state, { ...fresh, ...(told === undefined ? {} : { bytesPerSecond: told }) }),
        destination: targetIs('Prepared'),
        bytesPerSecond,
      }),
    ).actions;

  test('the source is told its share when it changes, and only then', () => {
    expect(at(2_000_000, 1_000_000)).toMatchObject([{ type: 'setSource', request: { goal: 'Shipped', bytesPerSecond: 1_000_000 } }]);
    expect(at(null, 1_000_000)).toHaveLength(1);
    const [lifted] = at(1_000_000, undefined);
    expect(lifted).toMatchObject({ type: 'setSource', request: { goal: 'Shipped' } });
    expect(lifted).not.toHaveProperty('request.bytesPerSecond');
    for (const same of [at(1_000_000, 1_000_000), at(null, undefined)]) expect(same).toEqual([]);
  });

  test('not when all has been shipped, and not an agent that knows of no limits', () => {
    expect(at(2_000_000, 1_000_000, 'Shipped')).toEqual([]);
    expect(at(undefined, 1_000_000)).toEqual([]);
  });

  test('with the first request already', () => {
    const first = planOf(observeAt('Freezing', { source: sourceIs('Unknown'), destination: targetIs('Prepared'), bytesPerSecond: 5 }));
    expect(first.actions).toMatchObject([{ request: { bytesPerSecond: 5 } }]);
  });
});

describe('the source is followed', () => {
  const at = (phase: 'Freezing' | 'Checkpointing' | 'Shipping', source: ReturnType<typeof sourceIs>) =>
    observeAt(phase, { source, destination: targetIs('Prepared') });

  test('frozen: its containers are checkpointed', () => {
    const plan = planOf(at('Freezing', sourceIs('Frozen', { frozenAt, ...fresh })));
    expect(plan).toMatchObject({ actions: [], status: { phase: 'Checkpointing' }, requeueAfter: 10_000 });
    expect(said(plan)).toMatchObject({
      reason: 'Frozen',
      message: 'pod web-7d9f-abcde is frozen on node node-a; its containers are checkpointed',
    });
    expect(plan.waitFor).toEqual([
      { side: 'source', nodeName: 'node-a', revision: 3 },
      { side: 'destination', nodeName: 'node-b', revision: 5 },
    ]);
  });

  // advance() writes the time of hearing of it over the agent's, and the next round the agent's over that.
  test("the time of the freeze is the agent's from the first word on", () => {
    const plan = planOf(at('Freezing', sourceIs('Frozen', { frozenAt, ...fresh })));
    expect(plan.status?.steps?.frozen).toBe('2026-11-24T11:59:58.250000Z');
  });

  test('memory is sent ahead while it runs: it does not say that it is frozen', () => {
    const plan = planOf(at('Freezing', sourceIs('Freezing', { aheadBytes: 4096, ...fresh })));
    expect(plan).toMatchObject({ actions: [], status: { phase: 'Freezing' } });
    expect(plan.status?.steps).not.toHaveProperty('frozen');
    expect(said(plan)?.message).toBe('pod web-7d9f-abcde runs on node node-a while its memory is sent ahead: 4096 bytes so far');
  });

  test('checkpointed: shipping, with the time of the freeze that the agent tells', () => {
    const plan = planOf(at('Checkpointing', sourceIs('Checkpointed', { frozenAt, ...fresh })));
    expect(plan.status).toMatchObject({ phase: 'Shipping', bytesSent: 250, containers: [{ archiveBytes: 1000, bytesSent: 250 }] });
    expect(plan.status?.steps).toMatchObject({ frozen: '2026-11-24T11:59:58.250000Z', checkpointed: ago(0) });
    expect(said(plan)).toMatchObject({ reason: 'Checkpointed', message: 'shipping pod web-7d9f-abcde: 25 % of 1000 bytes' });
  });

  test('a fast source may be further than the phase', () => {
    expect(planOf(at('Freezing', sourceIs('Checkpointed', { frozenAt, ...fresh }))).status?.phase).toBe('Shipping');
    const plan = planOf(observeAt('Freezing', { source: sourceIs('Shipped', { frozenAt, ...fresh }), destination: targetIs('Complete') }));
    expect(plan.status).toMatchObject({ phase: 'Holding', steps: { frozen: '2026-11-24T11:59:58.250000Z', shipped: ago(0) } });
  });

  test('progress stays in the phase and is said; nothing sent yet is 0 %', () => {
    const half = planOf(at('Shipping', sourceIs('Checkpointed', { containers: containers(500), ...fresh })));
    expect(half).toMatchObject({ actions: [], status: { phase: 'Shipping', bytesSent: 500 } });
    expect(half.events).toBeUndefined();
    expect(said(half)?.message).toContain('50 %');
    expect(said(planOf(at('Shipping', sourceIs('Checkpointed', { containers: [], ...fresh }))))?.message).toContain('0 % of 0 bytes');
    // An archive is sent with its headers, so that it can be a little more than its own length.
    expect(said(planOf(at('Shipping', sourceIs('Shipped', { containers: containers(1001), ...fresh }))))?.message).toContain('100 %');
  });

  test('planned again from what was written nothing changes', () => {
    const observation = at('Shipping', sourceIs('Checkpointed', { frozenAt, ...fresh }));
    const plan = planOf(observation);
    expect(planOf(written(observation, plan))).toEqual(plan);
  });

  test('the lease is renewed when a third of it is gone, and not before', () => {
    expect(planOf(at('Shipping', sourceIs('Checkpointed', { leaseLeft: 20_001 }))).actions).toEqual([]);
    const plan = planOf(at('Shipping', sourceIs('Checkpointed', { leaseLeft: 19_999 })));
    expect(plan.actions).toMatchObject([{ type: 'setSource', request: { goal: 'Shipped', leaseMilliseconds: 30_000 } }]);
  });
});

test('shipped and complete: on to the hold, with what the target is made from', () => {
  const digest = 'sha256:of-the-checkpoint';
  const view = { containers: [{ name: 'app', rootfsImageRef: 'x', checkpointImage, digest }] };
  const plan = planOf(
    observeAt('Shipping', { source: sourceIs('Shipped', { containers: containers(1000) }), destination: targetIs('Complete', view) }),
  );
  expect(plan).toMatchObject({ status: { phase: 'Holding', steps: { shipped: ago(0) }, bytesSent: 1000 } });
  // What the hold begins with, in the same go.
  expect(actionTypes(plan)).toEqual(['setSource', 'setTarget']);
  expect(plan.status?.containers).toEqual([
    {
      name: 'app',
      image: 'registry.example/shop/web:v1',
      baseImage: expect.any(String),
      archiveBytes: 1000,
      bytesSent: 1000,
      checkpointImage,
      digest,
    },
  ]);
  expect(said(plan)).toMatchObject({ reason: 'Shipped', message: expect.stringContaining('complete and verified') });
  // One of both is not enough.
  expect(planOf(observeAt('Shipping', { source: sourceIs('Checkpointed', fresh), destination: targetIs('Complete') })).status?.phase).toBe(
    'Shipping',
  );
  expect(planOf(observeAt('Shipping', { source: sourceIs('Shipped', fresh), destination: targetIs('Prepared') })).status?.phase).toBe(
    'Shipping',
  );
});

test('agents that were told to hold by who could not write it down: it is written, and they are not told again', () => {
  for (const [held, serving] of [
    ['Held', 'Complete'],
    ['Shipped', 'Serving'],
    ['Held', 'Serving'],
  ] as const) {
    const plan = planOf(observeAt('Shipping', { source: sourceIs(held), destination: targetIs(serving) }));
    expect(plan.status).toMatchObject({ phase: 'Holding', target: { nodeName: 'node-b' } });
    expect(actionTypes(plan)).toEqual(held === 'Held' && serving === 'Serving' ? [] : ['setSource', 'setTarget']);
  }
});

describe('the name of the target is fixed when anything is held', () => {
  const nameOf = (status: Parameters<typeof observeAt>[2], spec: Parameters<typeof migration>[0] = {}) => {
    const arrived = { source: sourceIs('Shipped'), destination: targetIs('Complete') };
    const observation = observeAt('Shipping', { ...arrived, migration: migration({ ...spec, status: statusAt('Shipping', status) }) });
    const plan = planOf(observation);
    expect(plan.status).toMatchObject({ phase: 'Holding', target: { nodeName: 'node-b' } });
    expect(actionsOf(plan)).toMatchObject([{ type: 'setSource' }, { type: 'setTarget', request: { pod: plan.status?.target?.name } }]);
    return plan.status?.target?.name;
  };

  test("Release: as the owner's own names, another one each attempt and migration", () => {
    const name = nameOf({});
    expect(name).toMatch(/^web-7d9f-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    expect(name).not.toBe(source.name);
    expect(name).not.toContain(migrationUid);
    expect(nameOf({})).toBe(name);
    expect(nameOf({ attempts: 2 })).not.toBe(name);
    expect(nameOf({}, { metadata: { uid: 'another' } })).not.toBe(name);
    expect(nameOf({ source: { ...source, name: `${'a'.repeat(58)}abcde` } })).toHaveLength(63);
  });

  test('Recreate: the same; Provided: the one that was told', () => {
    expect(nameOf({ switchKind: 'Recreate' })).toBe(source.name);
    expect(nameOf({ switchKind: 'Provided' }, { spec: { targetPod: 'mine' } })).toBe('mine');
  });
});

test('by way of a registry the destination is told when all lies there', () => {
  const observation = observeAt('Shipping', { source: sourceIs('Shipped', fresh), destination: targetIs('Prepared') });
  observation.migration.spec.transfer = 'Registry';
  expect(planOf(observation).actions).toMatchObject([
    { type: 'setTarget', nodeName: 'node-b', request: { goal: 'Complete', transfer: 'Registry' } },
  ]);
  expect(planOf({ ...observation, destination: targetIs('Fetching') }).actions).toEqual([]);
  expect(planOf({ ...observation, source: sourceIs('Checkpointed', fresh) }).actions).toEqual([]);
});

describe('failures roll back', () => {
  const steps: [SourceErrorStep, string][] = [
    ['room', 'InsufficientDisk'],
    ['freeze', 'FreezeFailed'],
    ['checkpoint', 'CheckpointFailed'],
    ['ship', 'ShippingFailed'],
    ['lease', 'TimedOut'],
  ];
  test.each(steps)("of the source's step %s as %s", (step, reason) => {
    const source = sourceIs('Running', { error: { step, message: 'it broke' } });
    expectFailure(planOf(observeAt('Shipping', { source, destination: targetIs('Prepared') })), 'RollingBack', reason, /it broke/);
  });

  test('what lacks on a disk is told as it is', () => {
    const disk = { name: 'node node-a', free: 0 };
    const message = refuseRoom('shop/web', { memory: 2 ** 30, way: 'kubelet', beside: false }, disk, { ...disk, free: undefined }) ?? '';
    const source = sourceIs('Resuming', { error: { step: 'room', message } });
    const plan = planOf(observeAt('Freezing', { source, destination: targetIs('Prepared') }));
    expect(said(plan)?.message).toContain(message);
  });

  test('what CRIU said is explained', () => {
    const error = { step: 'checkpoint', message: 'CRIU: Error (criu/sk-inet.c:191): inet: Unsupported proto 262' } as const;
    const plan = planOf(observeAt('Checkpointing', { source: sourceIs('Running', { error }), destination: targetIs('Prepared') }));
    expectFailure(plan, 'RollingBack', 'CheckpointFailed', /GODEBUG=multipathtcp=0/);
  });

  test('of the destination: an error, or a record that is gone', () => {
    const source = sourceIs('Checkpointed', fresh);
    const failed = observeAt('Shipping', { source, destination: targetIs('Prepared', { error: { message: 'no space' } }) });
    expectFailure(planOf(failed), 'RollingBack', 'ShippingFailed', /no space/);
    expectFailure(
      planOf(observeAt('Shipping', { source, destination: targetIs('Unknown') })),
      'RollingBack',
      'ShippingFailed',
      /node-b has forgotten/,
    );
  });

  test('a source that is forgotten after the freeze', () => {
    const plan = planOf(observeAt('Checkpointing', { source: sourceIs('Unknown'), destination: targetIs('Prepared') }));
    expectFailure(plan, 'RollingBack', 'FreezeFailed', /node-a has forgotten the migration/);
  });

  test.each(['Freezing', 'Checkpointing', 'Shipping'] as const)('%s takes no longer than allowed, whoever answers', (phase) => {
    const late = { steps: { prepared: ago(300) } };
    for (const source of [sourceIs('Checkpointed', fresh), silent, undefined]) {
      const plan = planOf(observeAt(phase, { source, destination: targetIs('Prepared') }, late));
      expectFailure(plan, 'RollingBack', 'TimedOut', /not on the destination within 300 s/);
    }
  });
});

test('agents that do not answer are waited for', () => {
  const cases = [
    [
      { source: silent, destination: targetIs('Prepared') },
      'SourceUnreachable',
      /agent on node node-a does not answer: connect ECONNREFUSED/,
    ],
    [{ source: undefined, destination: targetIs('Prepared') }, 'SourceUnreachable', /node-a.*no agent pod is ready/],
    [{ source: sourceIs('Frozen', fresh), destination: silent }, 'DestinationUnreachable', /node-b does not answer: connect ECONNREFUSED/],
    [{ source: sourceIs('Frozen', fresh), destination: undefined }, 'DestinationUnreachable', /node-b.*no agent pod is ready/],
  ] as const;
  for (const [change, reason, message] of cases) {
    const plan = planOf(observeAt('Checkpointing', change));
    expect(plan).toMatchObject({ actions: [], requeueAfter: 1000, status: { phase: 'Checkpointing' } });
    expect(said(plan)).toMatchObject({ reason, message: expect.stringMatching(message) });
  }
});

test('a freeze that came and went between two looks is in the steps of a migration that failed', () => {
  const source = sourceIs('Running', { frozenAt: '2026-11-24T11:59:58.250Z', error: { step: 'checkpoint', message: 'it broke' } });
  const plan = planOf(observeAt('Freezing', { source, destination: targetIs('Prepared') }));
  expect(plan.status).toMatchObject({ phase: 'RollingBack', steps: { frozen: '2026-11-24T11:59:58.250000Z' } });
});
