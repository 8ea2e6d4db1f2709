import fc from 'fast-check';
import type { PolicySpec } from '../../../../src/api/policy.ts';
import { type QueueState, type Ticket, turnsOf } from '../../../../src/plan/policy/turns.ts';
import { deepFreeze } from '../objects.ts';

function ticket(uid: string, change: Partial<Ticket> = {}): Ticket {
  return { uid, policy: 'drains', source: 'node-a', priority: 0, created: '2026-11-24T10:00:00Z', budgets: [], ...change };
}

const turns = (waiting: Ticket[], change: Partial<QueueState> & { limit?: PolicySpec['limits'] } = {}) => {
  const { limit, ...rest } = change;
  return turnsOf(deepFreeze({ waiting, running: [], limits: () => limit, disruptionsAllowed: () => 0, ...rest }));
};
const granted = (...args: Parameters<typeof turns>) => [...turns(...args)].flatMap(([uid, turn]) => (turn.granted ? [uid] : []));

test('without limits everybody goes', () => {
  expect(granted([ticket('b'), ticket('a')])).toEqual(['a', 'b']);
  expect(granted([ticket('a')], { limit: {} })).toEqual(['a']);
  expect(turns([])).toEqual(new Map());
});

test('the higher priority first, then the older, then the uid; in whatever order they come', () => {
  const all = [
    ticket('young', { created: '2026-11-24T10:00:02Z' }),
    ticket('late-but-important', { created: '2026-11-24T11:00:00Z', priority: 10 }),
    ticket('unimportant', { created: '2026-11-24T09:00:00Z', priority: -1 }),
    ticket('b', { created: '2026-11-24T10:00:01Z' }),
    ticket('a', { created: '2026-11-24T10:00:01Z' }),
  ];
  const order = ['late-but-important', 'a', 'b', 'young', 'unimportant'];
  for (const waiting of [all, all.toReversed()]) {
    const given = turns(waiting, { limit: { cluster: 1 } });
    expect([...given.keys()]).toEqual(order);
    expect([...given.values()].map((turn) => (turn.granted ? 0 : turn.position))).toEqual([0, 1, 2, 3, 4]);
  }
});

describe('limits count what is under way too, and say which holds', () => {
  const cases: [string, PolicySpec['limits'], Partial<Ticket>, string][] = [
    ['cluster', { cluster: 2 }, { source: 'node-x' }, 'policy drains allows 2 migrations at once'],
    ['perSource', { perSource: 2 }, {}, 'policy drains allows 2 migrations at once from node node-a'],
    [
      'perDestination',
      { perDestination: 2 },
      { source: 'node-x', destination: 'node-b' },
      'policy drains allows 2 migrations at once to node node-b',
    ],
  ];
  test.each(cases)('%s', (_what, limit, change, why) => {
    const running = [ticket('r', { destination: 'node-b' })];
    const waiting = ['a', 'b', 'c'].map((uid) => ticket(uid, { destination: 'node-b', ...change }));
    expect([...turns(waiting, { running, limit })]).toEqual([
      ['a', { granted: true }],
      ['b', { granted: false, position: 1, why }],
      ['c', { granted: false, position: 2, why }],
    ]);
  });

  test('of each node its own, and none where the destination is not known yet', () => {
    const elsewhere = [ticket('a'), ticket('b', { source: 'node-x' }), ticket('c')];
    expect(granted(elsewhere, { limit: { perSource: 1 } })).toEqual(['a', 'b']);
    const to = [
      ticket('a', { destination: 'node-b' }),
      ticket('b', { destination: 'node-c' }),
      ticket('c', { destination: 'node-b' }),
      ticket('d'),
      ticket('e'),
    ];
    expect(granted(to, { limit: { perDestination: 1 } })).toEqual(['a', 'b', 'd', 'e']);
  });

  test('of each policy its own, with its own positions', () => {
    const of = (policy: string, ...uids: string[]) => uids.map((uid) => ticket(uid, { policy }));
    const limits = (policy: string) => (policy === 'strict' ? { cluster: 1 } : { perSource: 2 });
    const given = turns([...of('strict', 'a', 'c', 'e'), ...of('lax', 'b', 'd', 'f')], { limits });
    expect(Object.fromEntries(given)).toMatchObject({
      a: { granted: true },
      b: { granted: true },
      c: { position: 1 },
      d: { granted: true },
      e: { position: 2 },
      f: { position: 1 },
    });
  });

  test('a limit that is exceeded already (it was lowered) lets nobody through', () => {
    const running = ['r', 's', 't'].map((uid) => ticket(uid));
    expect(granted([ticket('a')], { running, limit: { cluster: 1 } })).toEqual([]);
  });
});

test('one that its limit holds back does not hold back another that waits for something else', () => {
  const running = [ticket('r')];
  expect(granted([ticket('first', { priority: 9 }), ticket('second', { source: 'node-x' })], { running, limit: { perSource: 1 } })).toEqual(
    ['second'],
  );
});

describe('disruption budgets', () => {
  const budgets = ['shop/web'];
  const allow = (count: number) => ({ disruptionsAllowed: (budget: string) => (budget === 'shop/web' ? count : 99) });

  test('as many as the budget allows, less those under way', () => {
    const waiting = ['a', 'b', 'c'].map((uid) => ticket(uid, { budgets }));
    expect(granted(waiting, allow(0))).toEqual([]);
    expect(granted(waiting, allow(2))).toEqual(['a', 'b']);
    expect(granted(waiting, { ...allow(2), running: [ticket('r', { budgets, policy: 'another' })] })).toEqual(['a']);
    expect(granted(waiting, allow(Number.POSITIVE_INFINITY))).toEqual(['a', 'b', 'c']);
    expect(turns(waiting, allow(2)).get('c')).toEqual({
      granted: false,
      position: 1,
      why: 'disruption budget shop/web allows no disruption now',
    });
  });

  test('every one that counts the pod has to allow it; pods that none counts go', () => {
    const waiting = [ticket('a', { budgets: ['shop/all', 'shop/web'] }), ticket('b', { budgets: ['shop/all'] }), ticket('c')];
    expect(granted(waiting, allow(0))).toEqual(['b', 'c']);
  });
});

describe('whatever waits and is under way', () => {
  const nodes = fc.constantFrom('node-a', 'node-b', 'node-c');
  const few = fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined });
  const tickets = fc
    .array(
      fc.record(
        {
          policy: fc.constantFrom('p', 'q'),
          source: nodes,
          destination: nodes,
          priority: fc.integer({ min: -1, max: 1 }),
          created: fc.constantFrom('2026-11-24T10:00:00Z', '2026-11-24T10:00:01Z'),
          budgets: fc.uniqueArray(fc.constantFrom('s/x', 's/y')),
        },
        { requiredKeys: ['policy', 'source', 'priority', 'created', 'budgets'] },
      ),
      { maxLength: 12 },
    )
    .map((all) => all.map((change, index) => ticket(`uid-${index}`, change as Partial<Ticket>)));
  const limit = fc.record({ perSource: few, perDestination: few, cluster: few });
  const world = fc.record({
    tickets,
    split: fc.nat({ max: 5 }),
    p: limit,
    q: limit,
    allowed: fc.record({ 's/x': fc.integer({ min: 0, max: 3 }), 's/y': fc.integer({ min: 0, max: 3 }) }),
  });

  /** What one policy has under way beyond its limits, and budgets overdrawn; as far as `of` adds to it. */
  const offences = (all: Ticket[], of: Ticket, limits: NonNullable<PolicySpec['limits']>, allowed: (budget: string) => number) => {
    const same = all.filter(({ policy }) => policy === of.policy);
    const over = (count: number, most: number | undefined) => most !== undefined && count > most;
    return [
      over(same.length, limits.cluster),
      over(same.filter(({ source }) => source === of.source).length, limits.perSource),
      of.destination !== undefined && over(same.filter(({ destination }) => destination === of.destination).length, limits.perDestination),
      ...of.budgets.map((budget) => all.filter(({ budgets }) => budgets.includes(budget)).length > allowed(budget)),
    ].filter(Boolean).length;
  };

  test('no grant exceeds a limit, nobody who could go is left waiting, and the order of the lists says nothing', () => {
    fc.assert(
      fc.property(world, ({ tickets: all, split, p, q, allowed }) => {
        const limits = (policy: string) => (policy === 'p' ? p : q) as NonNullable<PolicySpec['limits']>;
        const disruptionsAllowed = (budget: string) => allowed[budget as keyof typeof allowed];
        const [running, waiting] = [all.slice(0, split), all.slice(split)];
        const given = turnsOf(deepFreeze({ running, waiting, limits, disruptionsAllowed }));
        expect([...given.keys()].sort()).toEqual(waiting.map(({ uid }) => uid).sort());
        const going = waiting.filter(({ uid }) => given.get(uid)?.granted);
        const underWay = [...running, ...going];
        for (const one of going) expect(offences(underWay, one, limits(one.policy), disruptionsAllowed)).toBe(0);
        for (const one of waiting.filter(({ uid }) => !given.get(uid)?.granted))
          expect(offences([...underWay, one], one, limits(one.policy), disruptionsAllowed)).toBeGreaterThan(0);
        const again = turnsOf({ running: running.toReversed(), waiting: waiting.toReversed(), limits, disruptionsAllowed });
        expect([...again]).toEqual([...given]);
      }),
      { seed: 5, numRuns: 1000 },
    );
  });

  test('who is first goes before who is later and wants the same', () => {
    fc.assert(
      fc.property(world, ({ tickets: all, p, q, allowed }) => {
        const alike = all.map((one) => ({ ...one, source: 'node-a', destination: 'node-b', policy: 'p', budgets: [] }));
        const given = turnsOf({
          running: [],
          waiting: alike,
          limits: () => ({ ...p, ...q }) as PolicySpec['limits'],
          disruptionsAllowed: () => allowed['s/x'],
        });
        const sequence = alike
          .toSorted(
            (left, right) =>
              right.priority - left.priority || left.created.localeCompare(right.created) || left.uid.localeCompare(right.uid),
          )
          .map(({ uid }) => given.get(uid)?.granted);
        expect(sequence).toEqual(sequence.toSorted((left, right) => Number(right) - Number(left)));
      }),
      { seed: 5 },
    );
  });
});
