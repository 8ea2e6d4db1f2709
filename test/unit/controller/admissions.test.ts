import fc from 'fast-check';
import type { Migration, MigrationStatus } from '../../../src/api/migration.ts';
import type { PolicySpec } from '../../../src/api/policy.ts';
import { type AdmissionPorts, Admissions } from '../../../src/controller/admissions.ts';
import { migration } from '../plan/objects.ts';
import { made } from '../plan/policy/policies.ts';

type Limits = NonNullable<PolicySpec['limits']>;

/** Admissions over a cache that tests fill by hand; pods run on node-a unless they are told otherwise. */
function start(limits: Limits | undefined = {}, change: Partial<AdmissionPorts> = {}) {
  const cache: Migration[] = [];
  const woken: string[] = [];
  const admissions = new Admissions({
    migrations: () => cache,
    migration: (uid) => cache.find(({ metadata }) => metadata.uid === uid),
    migrationsTo: (nodeName) => cache.filter(({ status }) => status?.target?.nodeName === nodeName),
    now: () => 0,
    nodeOf: () => 'node-a',
    limits: () => limits,
    disruptionsAllowed: () => Number.POSITIVE_INFINITY,
    wake: ({ metadata }) => void woken.push(metadata.name),
    ...change,
  });
  const show = (...all: Migration[]) => {
    for (const one of all) {
      const index = cache.findIndex(({ metadata }) => metadata.uid === one.metadata.uid);
      cache.splice(index < 0 ? cache.length : index, 1, one);
    }
  };
  const hide = (one: Migration) =>
    void cache.splice(
      cache.findIndex(({ metadata }) => metadata.uid === one.metadata.uid),
      1,
    );
  return { admissions, cache, woken, show, hide };
}

const one = (name: string, status?: MigrationStatus, change: Parameters<typeof made>[1] = {}) =>
  made(status, { name, spec: { pod: `pod-${name}` }, ...change });
const begun = (name: string, change: MigrationStatus = {}) =>
  one(name, { phase: 'Preparing', source: { name: `pod-${name}`, uid: 'x', nodeName: 'node-a' }, ...change });
const [a, b, c] = [one('a'), one('b'), one('c')];

test('a migration that no policy made needs no turn, and counts for nobody', () => {
  const { admissions, show } = start({ cluster: 1, perDestination: 1 });
  const own = migration({ metadata: { uid: 'own' } });
  show(own, migration({ metadata: { uid: 'other' }, status: { phase: 'Shipping', target: { nodeName: 'node-b' } } }), a);
  expect(admissions.turnOf(own, [])).toBeUndefined();
  expect(admissions.destinationTurnOf(own, 'node-b')).toBeUndefined();
  expect(admissions.turnOf(a, [])).toEqual({ granted: true });
  expect(admissions.destinationTurnOf(a, 'node-b')).toEqual({ granted: true });
});

test('what was granted counts although the cache does not show yet that it has begun, and stays granted', () => {
  const { admissions, show } = start({ cluster: 1 });
  show(a, b);
  expect(admissions.turnOf(a, [])).toEqual({ granted: true });
  expect(admissions.turnOf(b, [])).toEqual({ granted: false, position: 1, why: 'policy drains allows 1 migrations at once' });
  admissions.next();
  expect(admissions.turnOf(a, [])).toEqual({ granted: true });
  expect(admissions.turnOf(b, [])).toMatchObject({ granted: false });
  // Now it shows, and counts once.
  show(begun('a'));
  admissions.next();
  expect(admissions.turnOf(b, [])).toMatchObject({ granted: false });
});

test('those of a policy that ship share its bytes per second, and hear of another share', () => {
  const limits: Limits = { bytesPerSecond: 9_000_000 };
  const { admissions, show, woken } = start(limits);
  const own = begun('a', { phase: 'Freezing' });
  // The cache shows late that it ships.
  show(begun('a'), begun('b', { phase: 'Holding' }), begun('other', { phase: 'Shipping' }));
  show(migration({ metadata: { uid: 'no-policy' }, status: { phase: 'Shipping' } }));
  expect(admissions.shareOf(own)).toBe(4_500_000);
  expect(admissions.shareOf(begun('a'))).toBeUndefined();
  expect(admissions.shareOf(migration({ status: { phase: 'Shipping' } }))).toBeUndefined();
  show(own, begun('b', { phase: 'Checkpointing' }));
  admissions.next();
  expect(woken.sort()).toEqual(['a', 'b', 'other']);
  expect(admissions.shareOf(own)).toBe(3_000_000);
  admissions.next();
  expect(woken).toHaveLength(3);
  show(begun('other', { phase: 'Holding' }));
  admissions.next();
  expect(woken.slice(3).sort()).toEqual(['a', 'b']);
  expect(admissions.shareOf(own)).toBe(4_500_000);
  // Taken away it is told too.
  delete limits.bytesPerSecond;
  admissions.next();
  expect(woken).toHaveLength(7);
  expect(admissions.shareOf(own)).toBeUndefined();
});

test('the end of one wakes the next, and only that', () => {
  const { admissions, show, woken } = start({ cluster: 1 });
  show(begun('a'), b, c);
  expect(admissions.turnOf(c, [])).toMatchObject({ position: 2 });
  admissions.next();
  expect(woken).toEqual([]);
  show(begun('a', { phase: 'Succeeded' }));
  admissions.next();
  expect(woken).toEqual(['b']);
  // Who is not woken does not get it either.
  expect(admissions.turnOf(c, [])).toMatchObject({ granted: false, position: 1 });
  expect(admissions.turnOf(b, [])).toEqual({ granted: true });
});

test.each([
  ['was refused', (world: ReturnType<typeof start>) => world.show(one('a', { phase: 'Failed' }))],
  ['is gone', (world: ReturnType<typeof start>) => world.hide(a)],
])('a turn comes back when the migration %s', (_what, end) => {
  const world = start({ cluster: 1 });
  world.show(a, b);
  world.admissions.turnOf(a, []);
  end(world);
  world.admissions.next();
  expect(world.woken).toEqual(['b']);
  expect(world.admissions.turnOf(b, [])).toEqual({ granted: true });
});

test('one that the cache does not show waits: it could not be told from one that is gone', () => {
  const { admissions, show } = start({ cluster: 2 });
  show(b);
  expect(admissions.turnOf(a, [])).toMatchObject({ granted: false, position: 2, why: expect.stringContaining('cache') });
  admissions.next();
  show(a);
  expect(admissions.turnOf(a, [])).toEqual({ granted: true });
});

describe('a long queue', () => {
  /** Reckoning takes a second of this clock for each look at it. */
  function slow(limits: Limits) {
    const clock = { now: 0 };
    let reckoned = 0;
    const world = start(limits, {
      now: () => {
        const { now } = clock;
        clock.now += 500;
        return now;
      },
      onReckoned: () => void reckoned++,
    });
    return { ...world, clock, reckonings: () => reckoned };
  }

  test('is not reckoned at every look of those that wait', () => {
    const { admissions, show, clock, reckonings } = slow({ cluster: 1 });
    show(begun('r'), a, b);
    expect(admissions.turnOf(a, [])).toMatchObject({ granted: false, position: 1 });
    expect(admissions.turnOf(b, [])).toMatchObject({ granted: false, position: 2 });
    expect(reckonings()).toBe(1);
    expect(admissions.rest).toBe(20 * 500);
    clock.now += admissions.rest;
    expect(admissions.turnOf(b, [])).toMatchObject({ granted: false, position: 2 });
    expect(reckonings()).toBe(2);
  });

  test('who has only just come waits for the next look at the queue, which wakes it', () => {
    const { admissions, show, woken, reckonings } = slow({ cluster: 2 });
    show(begun('r'));
    admissions.next();
    show(a);
    expect(admissions.turnOf(a, [])).toMatchObject({ granted: false, position: 1, why: 'it has only just come' });
    admissions.next();
    expect(woken).toEqual(['a']);
    expect(admissions.turnOf(a, [])).toEqual({ granted: true });
    expect(reckonings()).toBe(2);
  });

  test('who was granted its turn is not reckoned again, unless its pod is not what the caches said', () => {
    const { admissions, show, reckonings } = slow({ perSource: 1 });
    show(a, c);
    admissions.next();
    expect(admissions.turnOf(a, [], 'node-a')).toEqual({ granted: true });
    expect(reckonings()).toBe(1);
    const other = slow({ perSource: 1 });
    other.show(begun('r', { source: { name: 'pod-r', uid: 'x', nodeName: 'node-x' } }), a, c);
    other.admissions.next();
    // It would be the second from node-x; the turn that it does not take is that of the next on node-a.
    expect(other.admissions.turnOf(a, [], 'node-x')).toMatchObject({ granted: false, why: expect.stringContaining('from node node-x') });
    expect(other.woken).toEqual(['a', 'c']);
    expect(other.admissions.turnOf(c, [], 'node-a')).toEqual({ granted: true });
    expect(other.reckonings()).toBe(2);
  });

  test('who was woken and did not look is woken again', () => {
    const { admissions, show, woken } = start({ cluster: 1 });
    show(a, b);
    admissions.next();
    admissions.next();
    expect(woken).toEqual(['a', 'a']);
    admissions.turnOf(a, []);
    admissions.next();
    expect(woken).toEqual(['a', 'a']);
  });
});

test('another leader counts what has begun from the API server', () => {
  const { admissions, show } = start({ perSource: 2 });
  show(begun('r', { phase: 'Shipping' }), begun('s', { phase: 'RollingBack' }), a);
  expect(admissions.turnOf(a, [])).toMatchObject({ why: 'policy drains allows 2 migrations at once from node node-a' });
});

test('the priority of the pod orders the queue; one that is no number is none', () => {
  const { admissions, show } = start({ cluster: 1 });
  const urgent = one('urgent', undefined, { priority: 1000 });
  const odd = one('odd');
  odd.metadata.annotations = { ...odd.metadata.annotations, 'podferry.io/priority': 'high' };
  show(a, odd, urgent);
  expect(admissions.turnOf(odd, [])).toMatchObject({ position: 2 });
  expect(admissions.turnOf(a, [])).toMatchObject({ position: 1 });
  expect(admissions.turnOf(urgent, [])).toEqual({ granted: true });
});

describe('the node of the pod', () => {
  test('as it was seen, not as the cache has it', () => {
    const { admissions, show } = start({ perSource: 1 }, { nodeOf: () => undefined });
    show(begun('r'), a, b);
    expect(admissions.turnOf(a, [], 'node-a')).toMatchObject({ granted: false, why: expect.stringContaining('from node node-a') });
    expect(admissions.turnOf(b, [], 'node-x')).toEqual({ granted: true });
    show(c, one('d'));
    expect(admissions.turnOf(c, [], 'node-x')).toMatchObject({ granted: false, why: expect.stringContaining('from node node-x') });
  });

  test('of those that were not looked at yet from the cache', () => {
    const asked: string[] = [];
    const nodeOf = (namespace: string, pod: string) => {
      asked.push(`${namespace}/${pod}`);
      return 'node-a';
    };
    const { admissions, show } = start({ perSource: 1 }, { nodeOf });
    show(one('first', undefined, { priority: 1 }), a);
    expect(admissions.turnOf(a, [], 'node-a')).toMatchObject({ granted: false });
    expect(asked).toEqual(['shop/pod-first']);
  });
});

describe('disruption budgets', () => {
  test('as they are now, not as they were when it was queued', () => {
    const { admissions, show } = start({}, { disruptionsAllowed: (budget) => (budget === 'shop/web' ? 0 : 1) });
    const queued = one('a', { phase: 'Pending', queuePosition: 1, budgets: [] });
    show(queued, one('b', { phase: 'Pending', queuePosition: 2, budgets: ['shop/web'] }));
    expect(admissions.turnOf(queued, ['shop/web'])).toMatchObject({
      granted: false,
      why: 'disruption budget shop/web allows no disruption now',
    });
    expect(admissions.turnOf(b, [])).toEqual({ granted: true });
  });

  test('of those under way by what they were accepted with', () => {
    const { admissions, show, woken } = start({}, { disruptionsAllowed: () => 1 });
    show(begun('r', { budgets: ['shop/web'] }), one('a', { phase: 'Pending', budgets: ['shop/web'] }));
    admissions.next();
    expect(woken).toEqual([]);
    expect(admissions.turnOf(a, ['shop/web'])).toMatchObject({ granted: false });
  });
});

describe('the destination', () => {
  const shipping = (name: string) => begun(name, { phase: 'Shipping', target: { nodeName: 'node-b' } });

  test('only policies that limit it ask', () => {
    const { admissions, show } = start({ cluster: 1, perSource: 1 });
    show(shipping('r'), begun('a'));
    expect(admissions.destinationTurnOf(begun('a'), 'node-b')).toBeUndefined();
  });

  test('counts those on the way there, and those that were let in and do not show it yet', () => {
    const { admissions, show } = start({ perDestination: 2 });
    show(shipping('r'), begun('a'), begun('b'), begun('c', { target: { nodeName: 'node-b' } }));
    expect(admissions.destinationTurnOf(begun('a'), 'node-b')).toEqual({ granted: true });
    expect(admissions.destinationTurnOf(begun('a'), 'node-b')).toEqual({ granted: true });
    expect(admissions.destinationTurnOf(begun('b'), 'node-b')).toEqual({
      granted: false,
      position: 1,
      why: 'policy drains allows 2 migrations at once to node node-b',
    });
    expect(admissions.destinationTurnOf(begun('b'), 'node-c')).toEqual({ granted: true });
    show(begun('r', { phase: 'Failed', target: { nodeName: 'node-b' } }));
    expect(admissions.destinationTurnOf(begun('c'), 'node-b')).toEqual({ granted: true });
  });

  test('given back when the migration ends, or takes another node', () => {
    const { admissions, show } = start({ perDestination: 1 });
    show(begun('a'), begun('b'));
    admissions.destinationTurnOf(begun('a'), 'node-b');
    expect(admissions.destinationTurnOf(begun('b'), 'node-b')).toMatchObject({ granted: false });
    expect(admissions.destinationTurnOf(begun('a'), 'node-c')).toEqual({ granted: true });
    expect(admissions.destinationTurnOf(begun('b'), 'node-b')).toEqual({ granted: true });
    show(begun('b', { phase: 'Failed' }));
    admissions.next();
    expect(admissions.destinationTurnOf(begun('a'), 'node-b')).toEqual({ granted: true });
  });

  test('two that were let in do not wait for each other when the limit is lowered', () => {
    const limits: Limits = { perDestination: 2 };
    const { admissions, show } = start(limits);
    show(begun('a'), begun('b'), begun('c'));
    for (const name of ['a', 'b']) admissions.destinationTurnOf(begun(name), 'node-b');
    limits.perDestination = 1;
    for (const name of ['a', 'b']) expect(admissions.destinationTurnOf(begun(name), 'node-b')).toEqual({ granted: true });
    expect(admissions.destinationTurnOf(begun('c'), 'node-b')).toMatchObject({ granted: false });
  });

  test('policies do not share it', () => {
    const { admissions, show } = start({ perDestination: 1 });
    show(made({ phase: 'Shipping', target: { nodeName: 'node-b' } }, { name: 'r', policy: 'another' }), begun('a'));
    expect(admissions.destinationTurnOf(begun('a'), 'node-b')).toEqual({ granted: true });
  });
});

/**
 * A small cluster: what the API server has, and a cache that gets its changes in order, late. Migrations go the way the
 * reconciler takes them; what was granted may be written down much later.
 */
class Cluster {
  readonly trace: string[] = [];
  readonly truth = new Map<string, Migration>();
  readonly #cache = new Map<string, Migration>();
  readonly #underWatch: [string, Migration | undefined][] = [];
  readonly #mayBegin = new Set<string>();
  readonly #mayGoTo = new Map<string, string>();
  readonly #woken = new Set<string>();
  readonly #nodes = new Map<string, string>();
  readonly #budgets = new Map<string, string[]>();
  readonly #limits: Record<string, Limits>;
  readonly #allowed: Record<string, number>;
  readonly #admissions: Admissions;
  #count = 0;

  constructor(limits: Record<string, Limits>, allowed: Record<string, number>) {
    this.#limits = limits;
    this.#allowed = allowed;
    this.#admissions = new Admissions({
      migrations: () => [...this.#cache.values()],
      migration: (uid) => this.#cache.get(uid),
      migrationsTo: (nodeName) => [...this.#cache.values()].filter(({ status }) => status?.target?.nodeName === nodeName),
      now: () => 0,
      // This cache lags too: it knows pods of Migrations that it shows, and only some of those.
      nodeOf: (_namespace, pod) => (pod.endsWith('0') ? undefined : this.#nodes.get(pod)),
      limits: (policy) => limits[policy],
      disruptionsAllowed: (budget) => allowed[budget] ?? Number.POSITIVE_INFINITY,
      wake: ({ metadata }) => void this.#woken.add(metadata.uid ?? ''),
    });
  }

  #write(uid: string, migration: Migration | undefined): void {
    if (migration) this.truth.set(uid, migration);
    else this.truth.delete(uid);
    this.#underWatch.push([uid, migration]);
    this.#mayBegin.delete(uid);
  }

  create(choice: number): void {
    const name = `m${this.#count++}`;
    this.#nodes.set(`pod-${name}`, `node-${choice % 3}`);
    this.#budgets.set(
      `pod-${name}`,
      ['s/x', 's/y'].filter((_budget, index) => (choice >> (2 + index)) & 1),
    );
    const change = { policy: choice % 2 ? 'p' : 'q', priority: choice % 3, metadata: {} };
    const { metadata } = made(undefined, { name, ...change });
    this.#write(
      `uid-of-${name}`,
      one(name, undefined, { ...change, metadata: { ...metadata, creationTimestamp: `2026-11-24T10:00:0${choice % 7}Z` } }),
    );
  }

  deliver(count: number): void {
    for (const [uid, migration] of this.#underWatch.splice(0, count)) {
      if (migration) this.#cache.set(uid, migration);
      else this.#cache.delete(uid);
    }
  }

  next(): string[] {
    this.#woken.clear();
    this.#admissions.next();
    this.trace.push(`woken ${[...this.#woken]}`);
    return [...this.#woken];
  }

  /** One look at a migration; when its turn has come it goes on at once, or another time. */
  reconcile(uid: string, choice: number): void {
    const fresh = this.truth.get(uid);
    if (!fresh) return;
    const pod = fresh.spec.pod;
    const { phase = 'Pending' } = fresh.status ?? {};
    const nodeName = this.#nodes.get(pod) ?? '';
    if (phase === 'Pending') {
      const budgets = this.#budgets.get(pod) ?? [];
      const turn = this.#admissions.turnOf(fresh, budgets, nodeName);
      this.trace.push(`${uid} ${JSON.stringify(turn)}`);
      if (!turn?.granted) return;
      this.#mayBegin.add(uid);
      this.check();
      if (choice % 4 === 0) return;
      const accepted: MigrationStatus = { phase: 'Preparing', source: { name: pod, uid: 'x', nodeName }, budgets };
      this.#write(uid, { ...fresh, status: choice % 9 === 1 ? { phase: 'Failed' } : accepted });
      return;
    }
    if (phase === 'Preparing') {
      const destination = this.#mayGoTo.get(uid) ?? `node-${(choice % 2) + 3}`;
      const turn = this.#admissions.destinationTurnOf(fresh, destination);
      this.trace.push(`${uid} to ${destination} ${JSON.stringify(turn)}`);
      if (turn && !turn.granted) return;
      this.#mayGoTo.set(uid, destination);
      this.check();
      if (choice % 4 !== 0)
        this.#write(uid, { ...fresh, status: { ...fresh.status, phase: 'Freezing', target: { nodeName: destination } } });
    }
  }

  finish(uid: string, choice: number): void {
    const fresh = this.truth.get(uid);
    if (!fresh) return;
    const { phase = 'Pending' } = fresh.status ?? {};
    // Some are refused, or cancelled before they begin.
    if (phase === 'Pending' && choice % 5 !== 0) return;
    this.#mayGoTo.delete(uid);
    const end = { ...fresh, status: { ...fresh.status, phase: choice % 2 && phase !== 'Pending' ? 'Succeeded' : 'Failed' } as const };
    this.#write(uid, phase === 'Succeeded' || phase === 'Failed' ? undefined : end);
  }

  #underWay(): Migration[] {
    return [...this.truth.values()].filter(({ metadata, status }) => {
      if (status?.phase === 'Succeeded' || status?.phase === 'Failed') return false;
      return status?.phase === undefined ? this.#mayBegin.has(metadata.uid ?? '') : true;
    });
  }

  /** What is exceeded with these under way besides. */
  exceeded(more: Migration[] = []): string[] {
    const counts = new Map<string, number>();
    const found = new Set<string>();
    const count = (key: string, limit: number | undefined) => {
      counts.set(key, (counts.get(key) ?? 0) + 1);
      if (limit !== undefined && (counts.get(key) ?? 0) > limit) found.add(key);
    };
    for (const { metadata, spec } of [...this.#underWay(), ...more]) {
      const policy = metadata.labels?.['podferry.io/policy'] ?? '';
      const limits = this.#limits[policy];
      count(policy, limits?.cluster);
      count(`${policy} from ${this.#nodes.get(spec.pod)}`, limits?.perSource);
      const destination = this.#mayGoTo.get(metadata.uid ?? '');
      if (destination) count(`${policy} to ${destination}`, limits?.perDestination);
      for (const budget of this.#budgets.get(spec.pod) ?? []) count(budget, this.#allowed[budget]);
    }
    return [...found];
  }

  check(): void {
    expect(this.exceeded()).toEqual([]);
  }

  /** When nothing moves any more: everybody is shown, woken and looked at. */
  settle(): void {
    for (let round = 0; round < 100; round++) {
      this.deliver(Number.POSITIVE_INFINITY);
      const woken = this.next();
      if (woken.length === 0) return;
      for (const uid of woken) this.reconcile(uid, 2);
      // What was granted before is looked at again by its own reconciler.
    }
    throw new Error('the queue wakes without end');
  }

  /** Those that were granted their turn before and have not taken it. */
  takeTurns(): void {
    for (const uid of [...this.#mayBegin]) this.reconcile(uid, 2);
  }

  waiting(): Migration[] {
    return [...this.truth.values()].filter(
      ({ metadata, status }) => status?.phase === undefined && !this.#mayBegin.has(metadata.uid ?? ''),
    );
  }
}

describe('with a cache that lags as it likes', () => {
  const few = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
  const limits = fc.record({ perSource: few, perDestination: few, cluster: few }) as fc.Arbitrary<Limits>;
  const command = fc.tuple(
    fc.constantFrom('create', 'reconcile', 'reconcile', 'reconcile', 'finish', 'deliver', 'next'),
    fc.nat({ max: 1000 }),
  );
  const program = fc.record({
    limits: fc.record({ p: limits, q: limits }),
    allowed: fc.record({ 's/x': fc.integer({ min: 1, max: 2 }), 's/y': fc.integer({ min: 1, max: 3 }) }),
    commands: fc.array(command, { minLength: 20, maxLength: 120 }),
  });

  function run({
    limits: given,
    allowed,
    commands,
  }: {
    limits: Record<string, Limits>;
    allowed: Record<string, number>;
    commands: [string, number][];
  }) {
    const cluster = new Cluster(given, allowed);
    for (const [what, choice] of commands) {
      const uids = [...cluster.truth.keys()];
      const uid = uids[choice % Math.max(1, uids.length)] ?? '';
      if (what === 'create') cluster.create(choice);
      else if (what === 'reconcile') cluster.reconcile(uid, choice);
      else if (what === 'finish') cluster.finish(uid, choice);
      else if (what === 'deliver') cluster.deliver(choice % 4);
      else cluster.next();
      cluster.check();
    }
    return cluster;
  }

  test('no limit and no budget is ever exceeded, and nobody who could go is left waiting', () => {
    let went = 0;
    let waited = 0;
    fc.assert(
      fc.property(program, (input) => {
        const cluster = run(input);
        cluster.takeTurns();
        cluster.settle();
        for (const left of cluster.waiting()) {
          expect(cluster.exceeded([left])).not.toEqual([]);
          waited++;
        }
        // And when those under way end, one after the other, all come to their turn.
        for (let round = 0; round < 200 && cluster.truth.size > 0; round++) {
          for (const uid of [...cluster.truth.keys()]) cluster.finish(uid, 1);
          cluster.settle();
        }
        expect(cluster.truth.size).toBe(0);
        went++;
      }),
      { seed: 5, numRuns: 400 },
    );
    expect(went).toBeGreaterThan(300);
    // Otherwise the limits were never felt.
    expect(waited).toBeGreaterThan(100);
  });

  test('the same history has the same end', () => {
    fc.assert(
      fc.property(program, (input) => {
        expect(run(input).trace).toEqual(run(input).trace);
      }),
      { seed: 6, numRuns: 50 },
    );
  });
});
