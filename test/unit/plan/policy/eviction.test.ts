import type { Migration, MigrationStatus } from '../../../../src/api/migration.ts';
import type { MigrationPolicy } from '../../../../src/api/policy.ts';
import { decideEviction, type EvictionRequest, policyMigration, stillWaits, triesOf } from '../../../../src/plan/policy/eviction.ts';
import { ago, now, statusAt } from '../migration/observations.ts';
import { deepFreeze, migration, ownedBy, pod, podUid, targetUid } from '../objects.ts';
import { failed, made, policy } from './policies.ts';

const decide = (change: Partial<EvictionRequest> = {}) => {
  const request = deepFreeze({
    now,
    user: 'anna',
    dryRun: false,
    pod: pod(),
    policy: policy(),
    migrations: [],
    ...change,
  } as EvictionRequest);
  const verdict = decideEviction(request);
  expect(decideEviction(request)).toEqual(verdict);
  return verdict;
};
const pass = { type: 'pass' };
const moves = (...seconds: number[]) =>
  seconds.map((age, index) => failed(`try-${index + 1}`, undefined, { metadata: { creationTimestamp: ago(age) } }));

test('a pod that a policy covers waits, and a Migration of it is to be made', () => {
  const verdict = decide();
  expect(verdict).toEqual({
    type: 'wait',
    message: 'podferry: waiting to migrate',
    create: policyMigration(policy(), pod(), { trigger: 'eviction', requestedBy: 'anna', tried: [] }),
  });
});

describe('evicted as ever', () => {
  const cases: [string, Partial<EvictionRequest>][] = [
    ['no policy', { policy: undefined }],
    ['a dry run', { dryRun: true }],
    ['a dry run while it is moved', { dryRun: true, migrations: [made(statusAt('Shipping'))] }],
    [
      'a dry run of one that just came',
      { dryRun: true, migrations: [made(statusAt('Succeeded', { target: { nodeName: 'node-a', uid: podUid } }))] },
    ],
    ['one that goes already', { pod: pod({ metadata: { deletionTimestamp: ago(1) } }) }],
    [
      'one that goes already while it is moved',
      { pod: pod({ metadata: { deletionTimestamp: ago(1) } }), migrations: [made(statusAt('Shipping'))] },
    ],
    ['one that has ended', { pod: pod({ status: { phase: 'Succeeded' } }) }],
    ['one that has failed', { pod: pod({ status: { phase: 'Failed' } }) }],
    ['one that does not run yet', { pod: pod({ status: { phase: 'Pending' } }) }],
    ['one whose policy has no word on it, although it was tried before', { policy: undefined, migrations: moves(5) }],
  ];
  test.each(cases)('%s', (_what, change) => {
    expect(decide(change)).toEqual(pass);
  });
});

describe('while it is moved', () => {
  const wait = (message: string) => ({ type: 'wait', message: `podferry: ${message}` });

  test('how far it is, and no second Migration', () => {
    expect(decide({ migrations: [made(statusAt('Shipping', { bytesSent: 5, containers: [{ name: 'app', archiveBytes: 10 }] }))] })).toEqual(
      wait('migrating to node-b, shipping 50 %'),
    );
    expect(decide({ migrations: [made({ phase: 'Pending', queuePosition: 2 })] })).toEqual(
      wait('waiting for its turn to migrate (position 2)'),
    );
  });

  test('also by a Migration that somebody made by hand, whether or not a policy covers it', () => {
    for (const status of [undefined, statusAt('Restoring')]) {
      const migrations = [migration(status ? { status } : {})];
      expect(decide({ policy: undefined, migrations }).type).toBe('wait');
      expect(decide({ migrations })).not.toHaveProperty('create');
    }
  });

  test('its target is not evicted either: known by its uid, or as soon as it is created', () => {
    const restoring = made(statusAt('Restoring'));
    expect(decide({ pod: pod({ metadata: { uid: targetUid } }), migrations: [restoring] })).toEqual(wait('migrating to node-b, restoring'));
    const annotations = { 'podferry.io/migration-uid': 'uid-of-try-1' };
    const created = pod({ metadata: { uid: 'new', annotations }, status: { phase: 'Pending' } });
    expect(decide({ pod: created, migrations: [made(statusAt('Switching'))] })).toEqual(wait('migrating to node-b, restoring'));
    // It came by another Migration, and this one moves another pod.
    const runs = pod({ metadata: { uid: 'new', annotations } });
    expect(decide({ pod: runs, migrations: [made(statusAt('Switching'), { name: 'try-2' })] })).toHaveProperty('create');
  });

  test('another pod of that name is none of its business', () => {
    const other = pod({ metadata: { uid: 'another' } });
    expect(decide({ pod: other, policy: undefined, migrations: [made(statusAt('Shipping'))] })).toEqual(pass);
    expect(decide({ pod: other, policy: undefined, migrations: [made(undefined)] })).toEqual(pass);
    expect(decide({ pod: other, policy: undefined, migrations: [migration({ spec: { pod: 'other' } })] })).toEqual(pass);
    // Neither bears what would tie them to each other.
    const draft = made(statusAt('Shipping'));
    delete draft.metadata.uid;
    expect(decide({ pod: other, policy: undefined, migrations: [draft] })).toEqual(pass);
  });
});

describe('it just arrived', () => {
  const arrived = (finished: number, change: Parameters<typeof made>[1] = {}, status: MigrationStatus = {}) =>
    made(statusAt('Succeeded', { target: { nodeName: 'node-b', uid: targetUid }, steps: { finished: ago(finished) }, ...status }), change);
  const here = pod({ metadata: { uid: targetUid }, spec: { nodeName: 'node-b' } });

  test('who asked for the move means the pod that was on the other node', () => {
    expect(decide({ pod: here, migrations: [arrived(29.9)] })).toEqual({
      type: 'moved',
      message: 'podferry: pod web-7d9f-abcde was moved from node node-a to node node-b',
    });
    expect(decide({ pod: here, policy: undefined, migrations: [arrived(0)] }).type).toBe('moved');
  });

  const cases: [string, ReturnType<typeof made>][] = [
    ['half a minute later', arrived(30)],
    ['somebody else', arrived(1, { requestedBy: 'bob' })],
    ['the move was not asked for by an eviction', arrived(1, { trigger: 'cordon' })],
    ['another pod arrived', arrived(1, {}, { target: { nodeName: 'node-b', uid: 'another' } })],
    ['it is back, not there', arrived(1, { podUid: targetUid }, { phase: 'Failed' })],
    ['nobody knows when', arrived(1, {}, { steps: {} })],
  ];
  test.each(cases)('it is moved on: %s', (_what, one) => {
    expect(decide({ pod: here, migrations: [one] })).toMatchObject({ type: 'wait', create: { spec: { pod: 'web-7d9f-abcde' } } });
  });

  test('it is moved on: its node is cordoned, so it is meant where it is now', () => {
    expect(decide({ pod: here, cordoned: true, migrations: [arrived(1)] })).toHaveProperty('create');
  });

  test('it is moved on: it has another name than the pod that was asked for before', () => {
    const renamed = pod({ metadata: { uid: targetUid, name: 'web-7d9f-fghij' }, spec: { nodeName: 'node-b' } });
    expect(decide({ pod: renamed, migrations: [arrived(1)] })).toHaveProperty('create');
  });

  test('nobody in particular is not the same user as nobody in particular', () => {
    const one = arrived(1, { trigger: 'cordon' });
    expect(decide({ pod: here, user: '', migrations: [one] })).toHaveProperty('create');
  });
});

describe('tries', () => {
  const names = (change: Partial<EvictionRequest>) => {
    const verdict = decide(change);
    return verdict.type === 'wait' ? verdict.create?.metadata.name : undefined;
  };

  test('each has its own name, that is the same for all who ask', () => {
    const first = names({ migrations: [] });
    expect(first).toMatch(/^web-7d9f-abcde-[a-z0-9]{6}$/);
    expect(names({ user: 'bob', now: now + 5000 })).toBe(first);
    const all = [
      first,
      names({ migrations: moves(20) }),
      names({ migrations: moves(30, 20) }),
      names({ pod: pod({ metadata: { uid: 'another' } }) }),
    ];
    expect(new Set(all).size).toBe(4);
    expect(all).not.toContain(undefined);
  });

  test.each([
    [undefined, 3],
    [0, 1],
    [1, 2],
    [4, 5],
  ])('retries: %s gives %s of them', (retries, tries) => {
    const spec = retries === undefined ? {} : { retries };
    const some = moves(...Array.from({ length: tries }, (_, index) => 100 - index));
    expect(decide({ policy: policy(spec), migrations: some.slice(1) })).toHaveProperty('create');
    expect(decide({ policy: policy(spec), migrations: some })).toEqual({
      type: 'wait',
      message:
        `podferry: policy drains keeps pod web-7d9f-abcde, since it could not be moved in ${tries} tries (the last: try-${tries} did not work); ` +
        'to let its memory go: kubectl delete pod -n shop web-7d9f-abcde, or set onFailure: Evict',
    });
    expect(decide({ policy: policy({ ...spec, onFailure: 'Evict' }), migrations: some })).toEqual({
      type: 'pass',
      lost: `it could not be moved in ${tries} tries (the last: try-${tries} did not work)`,
    });
  });

  test('those that somebody made by hand, of another pod, or that went well do not count', () => {
    const others = [
      migration({ status: { phase: 'Failed' } }),
      failed('of-another', 'node-b', { podUid: 'another' }),
      made({ phase: 'Succeeded' }, { name: 'went-well' }),
    ];
    expect(decide({ policy: policy({ retries: 0 }), migrations: others })).toHaveProperty('create');
  });

  test('a pod that came back to its origin has another uid and is the same', () => {
    const back = (name: string, from: string, to: string, age: number) =>
      failed(name, undefined, {
        podUid: from,
        metadata: { creationTimestamp: ago(age) },
        status: { target: { nodeName: 'node-a', uid: to }, failedDestination: `node-of-${name}` },
      });
    const migrations = [
      back('two', 'b', 'c', 20),
      failed('three', 'node-d', { podUid: 'c' }),
      back('one', 'a', 'b', 30),
      back('other', 'x', 'y', 25),
    ];
    const last = pod({ metadata: { uid: 'c' } });
    expect(triesOf(last, deepFreeze(migrations)).map(({ metadata }) => metadata.name)).toEqual(['one', 'two', 'three']);
    expect(decide({ pod: last, migrations })).toMatchObject({ type: 'wait', message: expect.stringContaining('in 3 tries') });
    expect(decide({ pod: last, migrations, policy: policy({ retries: 3 }) })).toMatchObject({
      create: { spec: { destination: { avoid: ['node-of-one', 'node-of-two', 'node-d'] } } },
    });
  });

  test('a pod without a uid has no tries', () => {
    const nameless = pod();
    delete nameless.metadata.uid;
    const unmarked = failed('try-1', 'node-b');
    delete unmarked.metadata.annotations?.['podferry.io/pod-uid'];
    expect(triesOf(nameless, [unmarked])).toEqual([]);
  });
});

describe('the deadline, from the first eviction on', () => {
  const late = /^podferry: policy drains keeps pod web-7d9f-abcde, since it could not be moved within 60 s \(/;
  const hasty = (spec: Parameters<typeof policy>[0] = {}) => policy({ deadlineSeconds: 60, retries: 9, ...spec });

  test('then onFailure applies', () => {
    expect(decide({ policy: hasty(), migrations: moves(60, 1) })).toHaveProperty('create');
    const migrations = moves(60.001, 1);
    expect(decide({ policy: hasty(), migrations })).toMatchObject({ type: 'wait', message: expect.stringMatching(late) });
    expect(decide({ policy: hasty(), migrations })).not.toHaveProperty('create');
    expect(decide({ policy: hasty({ onFailure: 'Evict' }), migrations })).toEqual({
      type: 'pass',
      lost: 'it could not be moved within 60 s (the last try: try-2 did not work)',
    });
  });

  test('half an hour unless the policy says otherwise', () => {
    expect(decide({ migrations: moves(1800) })).toHaveProperty('create');
    expect(decide({ migrations: moves(1801) })).toMatchObject({ message: expect.stringContaining('within 1800 s') });
  });

  test('for one that still waits for its turn too; one that has begun comes to its end', () => {
    const old = { metadata: { ...made(undefined).metadata, creationTimestamp: ago(61) } };
    const waits = made({ phase: 'Pending', queuePosition: 4 }, old);
    expect(decide({ policy: hasty({ onFailure: 'Evict' }), migrations: [waits] })).toEqual({
      type: 'pass',
      lost: 'it could not be moved within 60 s (now: waiting for its turn to migrate (position 4))',
    });
    expect(decide({ policy: hasty(), migrations: [waits] })).toMatchObject({ type: 'wait', message: expect.stringMatching(late) });
    for (const phase of ['Preparing', 'Shipping', 'RollingBack', 'Returning'] as const) {
      const verdict = decide({ policy: hasty({ onFailure: 'Evict' }), migrations: [made(statusAt(phase), old)] });
      expect(verdict).toMatchObject({
        type: 'wait',
        message: expect.stringMatching(/^podferry: (migrating|the migration failed and is undone)/),
      });
    }
    // The first try was too long ago, not this one.
    const migrations = [made(undefined, { name: 'try-2' }), ...moves(61)];
    expect(decide({ policy: hasty({ onFailure: 'Evict' }), migrations })).toHaveProperty('lost');
    expect(decide({ policy: hasty({ onFailure: 'Evict' }), migrations: migrations.slice(0, 1) }).type).toBe('wait');
  });

  test('what its node has asked for before is no eviction', () => {
    const before = failed('try-1', 'node-b', { trigger: 'cordon', metadata: { creationTimestamp: ago(3000) } });
    before.metadata.annotations = { ...made(undefined, { trigger: 'cordon' }).metadata.annotations };
    expect(decide({ policy: hasty(), migrations: [before] })).toHaveProperty('create');
    const waits = made(undefined, { trigger: 'cordon' });
    waits.metadata.creationTimestamp = ago(3000);
    expect(decide({ policy: hasty({ onFailure: 'Evict' }), migrations: [waits] })).toEqual({
      type: 'wait',
      message: 'podferry: waiting to migrate',
    });
  });
});

describe('what cannot be moved', () => {
  const cases: [string, ReturnType<typeof pod>, string][] = [
    ['at all', pod({ spec: { hostNetwork: true } }), 'uses hostNetwork'],
    ['with this owner', pod({ metadata: ownedBy('DaemonSet') }), 'belongs to DaemonSet'],
    ['now', pod({ status: { containerStatuses: [{ name: 'app', state: { waiting: { reason: 'CrashLoopBackOff' } } }] } }), 'container app'],
  ];
  test.each(cases)('%s: blocked, or evicted with a word', (_what, subject, why) => {
    const blocked = decide({ pod: subject });
    expect(blocked).toEqual({ type: 'wait', message: expect.stringContaining(why) });
    expect(blocked).toMatchObject({
      message: expect.stringContaining('kubectl delete pod -n shop web-7d9f-abcde, or set onFailure: Evict'),
    });
    const evicted = decide({ pod: subject, policy: policy({ onFailure: 'Evict' }) });
    expect(evicted).toEqual({ type: 'pass', lost: expect.stringMatching(new RegExp(`^it cannot be moved: .*${why}`)) });
  });
});

describe('the Migration that is made', () => {
  const make = (spec: Parameters<typeof policy>[0] = {}, tried: ReturnType<typeof failed>[] = [], subject = pod()) =>
    policyMigration(deepFreeze(policy(spec)), deepFreeze(subject), { trigger: 'eviction', requestedBy: 'anna', tried });

  test('says of whom, why and for whom', () => {
    expect(make({}, [], pod({ spec: { priority: 1000 } }))).toEqual({
      apiVersion: 'podferry.io/v1alpha1',
      kind: 'Migration',
      metadata: {
        namespace: 'shop',
        name: expect.stringMatching(/^web-7d9f-abcde-/),
        labels: { 'podferry.io/policy': 'drains', 'app.kubernetes.io/managed-by': 'podferry' },
        annotations: {
          'podferry.io/trigger': 'eviction',
          'podferry.io/requested-by': 'anna',
          'podferry.io/priority': '1000',
          'podferry.io/pod-uid': podUid,
        },
      },
      spec: { pod: 'web-7d9f-abcde', ttlSecondsAfterFinished: 86_400 },
    });
    const byNode = policyMigration(policy(), pod(), { trigger: 'cordon', tried: [] });
    expect(byNode.metadata.annotations).toMatchObject({ 'podferry.io/trigger': 'cordon', 'podferry.io/priority': '0' });
    expect(byNode.metadata.annotations).not.toHaveProperty('podferry.io/requested-by');
  });

  test('takes over what the policy says of the way', () => {
    const { spec } = make({ transfer: 'Registry', timeouts: { freezeSeconds: 7 }, destination: { nodeSelector: { zone: 'b' } } });
    expect(spec).toMatchObject({ transfer: 'Registry', timeouts: { freezeSeconds: 7 }, destination: { nodeSelector: { zone: 'b' } } });
    expect(spec.destination).not.toHaveProperty('avoid');
  });

  test('avoids where it has failed, each node once', () => {
    const tried = [failed('one', 'node-b'), failed('two', undefined), failed('three', 'node-c'), failed('four', 'node-b')];
    expect(make({}, tried).spec.destination).toEqual({ avoid: ['node-b', 'node-c'] });
    expect(make({ destination: { nodeSelector: { zone: 'b' } } }, tried).spec.destination).toEqual({
      nodeSelector: { zone: 'b' },
      avoid: ['node-b', 'node-c'],
    });
  });

  test('has a name that is short enough, however long the one of the pod', () => {
    const { metadata, spec } = make({}, [], pod({ metadata: { name: 'p'.repeat(253) } }));
    expect(metadata.name.length).toBeLessThanOrEqual(63);
    expect(spec.pod).toHaveLength(253);
  });
});

describe('what can be said without a look at the pod', () => {
  const said = (migrations: Migration[], policies = [policy()]) => stillWaits({ now, pod: pod().metadata.name, policies, migrations });

  test('that its Migration waits for its turn', () => {
    expect(said([made(undefined)])).toBe('podferry: waiting to migrate');
    const queued = made({ phase: 'Pending', queuePosition: 7 });
    expect(said([failed('try-0', 'node-b'), queued])).toBe('podferry: waiting for its turn to migrate (position 7)');
    // Whatever became of the policy.
    expect(said([queued], [])).toBe('podferry: waiting for its turn to migrate (position 7)');
  });

  const overdue = policy({ deadlineSeconds: 5 });
  test.each<[string, Migration[], MigrationPolicy[]]>([
    ['there is none', [], [policy()]],
    ['it has begun', [made(statusAt('Shipping'))], [policy()]],
    ['it has failed', [failed('try-1', 'node-b')], [policy()]],
    ['somebody made it by hand', [migration()], [policy()]],
    ['its target is the pod, it moves another', [made(undefined, { spec: { pod: 'another' } })], [policy()]],
    ['its deadline is over', [made(undefined)], [overdue]],
    [
      'the deadline of a try before is over',
      [failed('try-0', 'node-b', { metadata: { creationTimestamp: ago(4000) } }), made(undefined)],
      [policy()],
    ],
    ['the deadline of a policy that may apply by now is over', [made(undefined)], [policy(), overdue]],
  ])('nothing when %s', (_what, migrations, policies) => {
    expect(said(migrations, policies)).toBeUndefined();
  });
});
