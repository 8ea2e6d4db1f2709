import type { Pod } from '../../../../src/api/pod.ts';
import { isTriggered, migrationsFrom, type NodeLook, withdrawn } from '../../../../src/plan/policy/node-trigger.ts';
import { ago, statusAt } from '../migration/observations.ts';
import { deepFreeze, migration, node, ownedBy, pod, targetUid } from '../objects.ts';
import { failed, made, policy } from './policies.ts';

const cordoned = node('node-a', { unschedulable: true });
const cordons = policy({ triggers: { cordon: true } });
const tainted = { ...node('node-a'), spec: { taints: [{ key: 'maintenance', effect: 'NoSchedule' }] } };
const taints = policy({ triggers: { taints: [{ key: 'maintenance' }] } }, { name: 'taints' });

const from = (change: Partial<NodeLook> = {}) =>
  migrationsFrom(
    deepFreeze({
      node: cordoned,
      pods: [pod()],
      policies: [cordons],
      namespaceLabels: () => ({ team: 'shop' }),
      migrationsOf: () => [],
      ...change,
    }),
  );

describe('whether a node asks for anything', () => {
  test('a trigger of any policy', () => {
    expect(isTriggered(cordoned, [policy(), cordons])).toBe(true);
    expect(isTriggered(cordoned, [policy()])).toBe(false);
    expect(isTriggered(cordoned, [])).toBe(false);
    expect(isTriggered(node('node-a'), [cordons, taints])).toBe(false);
    expect(isTriggered(tainted, [taints])).toBe(true);
  });

  test.each(['False', 'Unknown'])('not when its agent cannot be expected to answer: Ready is %s', (ready) => {
    expect(isTriggered(node('node-a', { unschedulable: true, ready }), [cordons])).toBe(false);
    expect(isTriggered({ metadata: { name: 'node-a' }, spec: { unschedulable: true } }, [cordons])).toBe(false);
  });
});

describe('the Migrations that are made', () => {
  test('one of each pod that a policy covers, with the trigger', () => {
    const db = pod({ metadata: { name: 'db-0', uid: 'db', ...ownedBy('StatefulSet') } });
    expect(from({ pods: [pod(), db] }).map(({ spec, metadata }) => [spec.pod, metadata.annotations?.['podferry.io/trigger']])).toEqual([
      ['web-7d9f-abcde', 'cordon'],
      ['db-0', 'cordon'],
    ]);
    expect(from({ node: tainted, policies: [taints] })[0]?.metadata).toMatchObject({
      labels: { 'podferry.io/policy': 'taints' },
      annotations: { 'podferry.io/trigger': 'taint maintenance' },
    });
    expect(from()[0]?.metadata.annotations).not.toHaveProperty('podferry.io/requested-by');
  });

  test('policies choose by the labels of the namespace and of the pod', () => {
    const policies = [
      policy({
        triggers: { cordon: true },
        namespaceSelector: { matchLabels: { team: 'shop' } },
        podSelector: { matchLabels: { app: 'web' } },
      }),
    ];
    expect(from({ policies })).toHaveLength(1);
    expect(from({ policies, pods: [pod({ metadata: { labels: { app: 'db' } } })] })).toEqual([]);
    const asked: string[] = [];
    expect(
      from({
        policies,
        namespaceLabels: (name) => {
          asked.push(name);
          return { team: 'bank' };
        },
      }),
    ).toEqual([]);
    expect(asked).toEqual(['shop']);
  });

  const stay: [string, Pod][] = [
    ['what cannot migrate', pod({ spec: { hostNetwork: true } })],
    ['what cannot now', pod({ status: { phase: 'Pending' } })],
    ['what goes anyway', pod({ metadata: { deletionTimestamp: ago(1) } })],
    ['what is not ready', pod({ status: { conditions: [{ type: 'Ready', status: 'False' }] } })],
    ['what holds room for others', pod({ metadata: { labels: { 'podferry.io/role': 'placeholder' } } })],
  ];
  test.each(stay)('%s stays, and no Evict sends it away', (_what, subject) => {
    expect(from({ pods: [subject], policies: [policy({ triggers: { cordon: true }, onFailure: 'Evict' })] })).toEqual([]);
  });

  test('none where one is under way, whoever made it', () => {
    for (const under of [made(undefined), made(statusAt('Shipping')), migration(), made(statusAt('Shipping'), { podUid: 'another' })]) {
      expect(from({ migrationsOf: () => [under] })).toEqual([]);
    }
    expect(from({ migrationsOf: () => [made(statusAt('Succeeded', { target: { nodeName: 'node-a', uid: targetUid } }))] })).toHaveLength(1);
  });

  test('after a failure the next try, elsewhere, until there are enough', () => {
    const tries = ['one', 'two', 'three'].map((name) => failed(name, `node-of-${name}`, { trigger: 'cordon' }));
    const [first] = from();
    const [second] = from({ migrationsOf: () => tries.slice(0, 1) });
    expect(second?.spec.destination?.avoid).toEqual(['node-of-one']);
    expect(second?.metadata.name).not.toBe(first?.metadata.name);
    expect(from({ migrationsOf: () => tries.slice(0, 2) })).toHaveLength(1);
    expect(from({ migrationsOf: () => tries })).toEqual([]);
    expect(from({ migrationsOf: () => tries.slice(0, 1), policies: [policy({ triggers: { cordon: true }, retries: 0 })] })).toEqual([]);
  });
});

describe('withdrawn', () => {
  const asked = (status: Parameters<typeof made>[0], trigger = 'cordon', change: Parameters<typeof made>[1] = {}) =>
    made(status, { name: `${status?.phase}-${trigger}`, trigger, ...change });
  const namesOf = (...args: Parameters<typeof withdrawn>) => withdrawn(...deepFreeze(args)).map(({ metadata }) => metadata.name);

  test('what has not begun, when the node is uncordoned', () => {
    const all = [asked(undefined), asked({ phase: 'Pending', queuePosition: 1 })];
    expect(namesOf(node('node-a'), [cordons], all)).toEqual(['undefined-cordon', 'Pending-cordon']);
    expect(namesOf(cordoned, [cordons], all)).toEqual([]);
    // Not Ready: nothing can be moved from there.
    expect(namesOf(node('node-a', { unschedulable: true, ready: 'Unknown' }), [cordons], all)).toHaveLength(2);
    expect(namesOf(cordoned, [], all)).toHaveLength(2);
  });

  test('what has begun, or was asked for by people, stays', () => {
    const phases = ['Preparing', 'Freezing', 'Shipping', 'Switching', 'RollingBack', 'Returning', 'Succeeded', 'Failed'] as const;
    const all = [
      ...phases.map((phase) => asked({ phase })),
      asked(undefined, 'eviction'),
      migration(),
      asked(undefined, 'cordon', { metadata: { ...asked(undefined).metadata, deletionTimestamp: ago(1) } }),
    ];
    expect(namesOf(node('node-a'), [cordons], all)).toEqual([]);
  });

  test('policy by policy: that the node asks for something else keeps nothing', () => {
    const all = [asked(undefined, 'cordon'), asked(undefined, 'taint maintenance', { policy: 'taints' })];
    expect(namesOf(cordoned, [cordons, taints], all)).toEqual(['undefined-taint maintenance']);
    expect(namesOf(tainted, [cordons, taints], all)).toEqual(['undefined-cordon']);
  });
});
