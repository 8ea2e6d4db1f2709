import type { Pod } from '../../../../src/api/pod.ts';
import type { PolicySpec } from '../../../../src/api/policy.ts';
import { decideEviction, policyMigration } from '../../../../src/plan/policy/eviction.ts';
import { migrationsFrom } from '../../../../src/plan/policy/node-trigger.ts';
import { countsOf, onlyOf, previewNode } from '../../../../src/plan/policy/preview.ts';
import type { PreviewInput } from '../../../../src/plan/policy/preview-input.ts';
import { ago, now, statusAt } from '../migration/observations.ts';
import { deepFreeze, namespace, node, ownedBy, type PodChange, pod } from '../objects.ts';
import { failed, made, policy } from './policies.ts';

const preview = (change: Partial<PreviewInput> = {}) => {
  const input = deepFreeze({
    now,
    trigger: 'Eviction',
    node: node('node-a'),
    pods: [pod()],
    policies: [policy()],
    namespaceLabels: (name: string) => (name === 'bank' ? undefined : { 'podferry.io/enabled': 'true' }),
    migrations: [],
    budgets: [],
    ...change,
  } as PreviewInput);
  const seen = previewNode(input);
  expect(previewNode(input)).toEqual(seen);
  return seen;
};
const row = (change: Partial<PreviewInput> = {}) => {
  const { pods, migrations } = preview(change);
  expect(pods).toHaveLength(1);
  return { ...pods[0], made: migrations.map(({ metadata }) => metadata.name) };
};
const named = (name: string, change: PodChange = {}) => pod({ ...change, metadata: { name, uid: `uid-of-${name}`, ...change.metadata } });
const own = (spec: PolicySpec, change: PodChange = {}): Partial<PreviewInput> => ({ policies: [policy(spec)], pods: [pod(change)] });
const hostNetwork = { spec: { hostNetwork: true } };
const cordoned = node('node-a', { unschedulable: true });
const asked = { triggers: { cordon: true } };

describe('an eviction', () => {
  test('Migrate: the very Migration that the webhook would make, but for who asks', () => {
    const policies = [policy({ destination: { nodeSelector: { zone: 'b' } }, transfer: 'Registry' })];
    const migrations = [failed('try-1', 'node-b')];
    const seen = preview({ policies, migrations });
    const [create] = seen.migrations;
    const verdict = decideEviction({ now, user: 'anna', dryRun: false, pod: pod(), policy: policies[0], migrations });
    if (verdict.type !== 'wait' || !verdict.create || !create) throw new Error('no Migration');
    const { 'podferry.io/requested-by': _who, ...annotations } = verdict.create.metadata.annotations ?? {};
    expect(create).toEqual({ ...verdict.create, metadata: { ...verdict.create.metadata, annotations } });
    expect(create.metadata).not.toHaveProperty('uid');
    expect(seen.pods).toEqual([
      {
        namespace,
        name: 'web-7d9f-abcde',
        verdict: 'Migrate',
        policy: 'drains',
        migration: create.metadata.name,
        destination: { nodeSelector: { zone: 'b' }, avoid: ['node-b'] },
        message: 'now, to a node that the scheduler chooses with zone=b, rather not node-b',
      },
    ]);
  });

  test('Migrate, and how it would end: a probe that leaves no time for a freeze', () => {
    const container = { name: 'app', image: 'x', livenessProbe: { httpGet: { port: 80 }, periodSeconds: 1, failureThreshold: 1 } };
    expect(row({ pods: [pod({ spec: { containers: [container] } })] })).toMatchObject({
      verdict: 'Migrate',
      message: expect.stringMatching(/^now, .*; but it would be refused: .*liveness probe/),
    });
  });

  test('Block and Evict: it cannot be moved, and what the policy says to that', () => {
    const why = expect.stringMatching(/cannot be moved: pod shop\/web-7d9f-abcde uses hostNetwork/);
    expect(row(own({}, hostNetwork))).toMatchObject({ verdict: 'Block', policy: 'drains', message: why, made: [] });
    const evicted = row(own({ onFailure: 'Evict' }, hostNetwork));
    expect(evicted).toMatchObject({ verdict: 'Evict', policy: 'drains', message: why, made: [] });
    expect(evicted.message).toMatch(/^without its memory, since /);
  });

  test('Block: tried too often', () => {
    const migrations = [failed('try-1', 'node-b'), failed('try-2', 'node-b')];
    expect(row({ policies: [policy({ retries: 1 })], migrations })).toMatchObject({
      verdict: 'Block',
      message: expect.stringContaining('in 2 tries'),
    });
  });

  test('Moving: how far it is', () => {
    expect(row({ migrations: [made(statusAt('Restoring'))] })).toMatchObject({
      verdict: 'Moving',
      policy: 'drains',
      migration: 'try-1',
      message: 'migrating to node-b, restoring',
      made: [],
    });
    expect(row({ migrations: [made({ phase: 'Pending', queuePosition: 3 })] }).message).toBe(
      'waiting for its turn to migrate (position 3)',
    );
  });

  const uncovered: [string, Partial<PreviewInput>, string][] = [
    ['no policy', { policies: [] }, 'no policy covers it'],
    ['a policy for others', { policies: [policy({ podSelector: { matchLabels: { app: 'db' } } })] }, 'no policy covers it'],
    ['a namespace that has not opted in', { pods: [pod({ metadata: { namespace: 'bank' } })] }, 'namespace bank is not enabled'],
    [
      'a namespace that the webhook is not asked about',
      { pods: [pod({ metadata: { namespace: 'kube-system' } })] },
      'evictions in kube-system',
    ],
    ['one that has ended', { pods: [pod({ status: { phase: 'Succeeded' } })] }, 'no memory to keep (Succeeded)'],
    ['a placeholder', { pods: [pod({ metadata: { labels: { 'podferry.io/role': 'placeholder' } } })] }, 'helper of podferry'],
    [
      'one that only a cordon would move',
      { policies: [policy({ triggers: { eviction: false, cordon: true } })] },
      'drains moves it when the node is cordoned',
    ],
  ];
  test.each(uncovered)('Uncovered: %s', (_what, change, why) => {
    const seen = row(change);
    expect(seen).toMatchObject({ verdict: 'Uncovered', made: [] });
    expect(seen).not.toHaveProperty('policy');
    expect(seen.message).toMatch(/^evicted as ever: /);
    expect(seen.message).toContain(why);
  });

  const ignored: [string, Pod, string][] = [
    ['a DaemonSet', pod({ metadata: ownedBy('DaemonSet', 'logs') }), 'belongs to DaemonSet logs'],
    ['a static pod', pod({ metadata: { annotations: { 'kubernetes.io/config.mirror': 'x' } } }), 'is a static pod'],
    ['a static pod by its owner', pod({ metadata: ownedBy('Node', 'node-a') }), 'is a static pod'],
    ['one that goes already', pod({ metadata: { deletionTimestamp: ago(1) } }), 'is being deleted already'],
  ];
  test.each(ignored)('Ignored: %s', (_what, one, why) => {
    expect(row({ pods: [one] })).toMatchObject({ verdict: 'Ignored', message: expect.stringContaining(why), made: [] });
  });
});

describe('as the node is now', () => {
  const onNode = (change: Partial<PreviewInput> = {}) => row({ trigger: 'Node', node: cordoned, policies: [policy(asked)], ...change });

  test('Migrate: the very Migration that the controller would make', () => {
    const policies = [policy(asked)];
    const seen = preview({ trigger: 'Node', node: cordoned, policies });
    expect(seen.migrations).toEqual(
      migrationsFrom({ node: cordoned, pods: [pod()], policies, namespaceLabels: () => ({}), migrationsOf: () => [] }),
    );
    expect(seen.migrations[0]?.metadata.annotations?.['podferry.io/trigger']).toBe('cordon');
  });

  test('a node that asks for nothing leaves all pods where they are', () => {
    expect(onNode({ node: node('node-a') })).toMatchObject({
      verdict: 'Uncovered',
      message: 'left where it is: no policy asks for it as the node is now',
    });
  });

  test('Stay: nobody has asked for its end, whatever onFailure says', () => {
    const policies = [policy({ ...asked, onFailure: 'Evict' })];
    const stays = (change: Partial<PreviewInput>, why: string) =>
      expect(onNode({ policies, ...change })).toMatchObject({
        verdict: 'Stay',
        policy: 'drains',
        message: expect.stringContaining(why),
        made: [],
      });
    stays({ pods: [pod(hostNetwork)] }, 'hostNetwork');
    stays({ pods: [pod({ status: { conditions: [{ type: 'Ready', status: 'False' }] } })] }, 'not ready');
    stays({ migrations: ['1', '2', '3'].map((name) => failed(name, 'node-b')) }, 'in 3 tries (the last: 3 did not work)');
    stays({ node: node('node-a', { unschedulable: true, ready: 'False' }) }, 'node node-a is not Ready');
  });

  test('Moving, also when somebody asked for it by hand', () => {
    expect(onNode({ migrations: [made(statusAt('Shipping'))] }).verdict).toBe('Moving');
  });

  test('a policy for evictions has no word on it', () => {
    expect(onNode({ policies: [policy()] }).verdict).toBe('Uncovered');
  });
});

describe('the queue', () => {
  const two = [named('b'), named('a')];
  const queue = (change: Partial<PreviewInput>) =>
    preview(change).pods.map(({ name, queuePosition, message }) => [name, queuePosition, message]);
  const now1 = 'now, to a node that the scheduler chooses';
  const later = (position: number, why: string) => `position ${position}, to a node that the scheduler chooses (${why})`;

  test('those that would go now, then those that would wait, with what they wait for; Migrations in that order', () => {
    const pods = [...two, named('urgent', { spec: { priority: 10 } })];
    const seen = preview({ pods, policies: [policy({ limits: { perSource: 1 } })] });
    const why = 'policy drains allows 1 migrations at once from node node-a';
    expect(seen.pods.map(({ name, queuePosition, message }) => [name, queuePosition, message])).toEqual([
      ['urgent', undefined, now1],
      ['a', 1, later(1, why)],
      ['b', 2, later(2, why)],
    ]);
    expect(seen.migrations.map(({ spec }) => spec.pod)).toEqual(['urgent', 'a', 'b']);
  });

  test('what is under way elsewhere counts, and what waits elsewhere is before', () => {
    const under = made({ phase: 'Shipping', source: { name: 'x', uid: 'x', nodeName: 'node-c' } }, { name: 'under', spec: { pod: 'x' } });
    const waits = made({ phase: 'Pending' }, { name: 'waits', spec: { pod: 'y' } });
    const policies = [policy({ limits: { cluster: 1 } })];
    const why = 'policy drains allows 1 migrations at once';
    expect(queue({ pods: two, policies, migrations: [under, waits] })).toEqual([
      ['a', 2, later(2, why)],
      ['b', 3, later(3, why)],
    ]);
  });

  test('what waits elsewhere counts for its own node, known or not', () => {
    const migrations = ['1', '2'].map((name) => made({ phase: 'Pending' }, { name, spec: { pod: `pod-${name}` } }));
    const policies = [policy({ limits: { perSource: 1, cluster: 3 } })];
    const first = (nodeOf?: PreviewInput['nodeOf']) => queue({ policies, migrations, ...(nodeOf ? { nodeOf } : {}) })[0]?.[1];
    expect(first()).toBeUndefined();
    expect(first(() => 'node-c')).toBeUndefined();
    expect(first(() => 'node-a')).toBe(2);
  });

  test('a disruption budget that allows none, and one that allows one', () => {
    const budget = (disruptionsAllowed: number) => [
      { metadata: { name: 'tight', namespace }, spec: { selector: { matchLabels: { app: 'web' } } }, status: { disruptionsAllowed } },
      { metadata: { name: 'elsewhere', namespace: 'bank' }, spec: { selector: {} } },
    ];
    const why = 'disruption budget shop/tight allows no disruption now';
    expect(queue({ pods: two, budgets: budget(0) })).toEqual([
      ['a', 1, later(1, why)],
      ['b', 2, later(2, why)],
    ]);
    expect(queue({ pods: two, budgets: budget(1) })).toEqual([
      ['a', undefined, now1],
      ['b', 1, later(1, why)],
    ]);
  });
});

test('rows are in the order of their verdicts, and by name; one policy can be looked at alone', () => {
  const policies = [policy(), policy({ priority: 1, podSelector: { matchLabels: { app: 'db' } } }, { name: 'db' })];
  const seen = preview({
    policies,
    pods: [
      named('daemon', { metadata: ownedBy('DaemonSet') }),
      named('z'),
      named('bank', { metadata: { namespace: 'bank' } }),
      named('kept', hostNetwork),
      named('db', { metadata: { labels: { app: 'db' } } }),
    ],
  });
  expect(seen.pods.map(({ name, verdict }) => [name, verdict])).toEqual([
    ['db', 'Migrate'],
    ['z', 'Migrate'],
    ['kept', 'Block'],
    ['bank', 'Uncovered'],
    ['daemon', 'Ignored'],
  ]);
  expect(countsOf(seen.pods)).toEqual({ Migrate: 2, Block: 1, Uncovered: 1, Ignored: 1 });
  const db = onlyOf(seen, 'db');
  expect(db.pods.map(({ name }) => name)).toEqual(['db']);
  expect(db.migrations.map(({ spec }) => spec.pod)).toEqual(['db']);
  expect(onlyOf(seen, 'other')).toEqual({ pods: [], migrations: [] });
});

test('policyMigration and the preview name a Migration alike', () => {
  expect(row().made).toEqual([policyMigration(policy(), pod(), { trigger: 'eviction', tried: [] }).metadata.name]);
});
