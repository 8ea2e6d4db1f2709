import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { isFinished, type Migration } from '../../../src/api/migration.ts';
import { Agents } from '../../../src/controller/agents.ts';
import { Reconciler, type ReconcilerPorts } from '../../../src/controller/reconciler.ts';
import type { Action, Observation } from '../../../src/plan/migration/index.ts';
import { observe, placeholder, sourceIs, sourceView, statusAt, targetIs, targetView } from '../plan/migration/observations.ts';
import { deepFreeze, migration, pod } from '../plan/objects.ts';

const key = 'shop/move-web';
const signal = new AbortController().signal;
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Waits of the agents, ended by hand. */
class WaitingAgents extends Agents {
  readonly waits: { side: string; nodeName: string; revision: number; signal: AbortSignal; end: () => void; fail: () => void }[] = [];

  constructor() {
    super({ addressOf: () => undefined, deadline: 0 });
  }

  override nextChange(...[side, nodeName, , revision, , stop]: Parameters<Agents['nextChange']>): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.waits.push({ side, nodeName, revision, signal: stop, end: resolve, fail: () => reject(new Error('gone')) });
    stop.addEventListener('abort', () => reject(stop.reason));
    return promise;
  }
}

/** A reconciler over one Migration, which it sees as `seen` says; what it does, in order, is in `did`. */
function start(status: Migration['status'], seen: (current: Migration) => Partial<Observation> = () => ({})) {
  const did: string[] = [];
  const state = { current: migration(status ? { status } : {}) as Migration | undefined, seen };
  const agents = new WaitingAgents();
  const ports: ReconcilerPorts = {
    getMigration: async (namespace, name) => {
      expect(`${namespace}/${name}`).toBe(key);
      return state.current;
    },
    observe: async (current) => deepFreeze(observe({ ...state.seen(current), migration: current })),
    writeStatus: async (current, after) => {
      did.push(`write ${after.phase ?? 'Pending'}`);
      const resourceVersion = `${Number(current.metadata.resourceVersion ?? 0) + 1}`;
      state.current = { ...current, metadata: { ...current.metadata, resourceVersion }, status: after };
      return state.current;
    },
    act: async (_migration, action: Action) => {
      did.push(action.type);
      return undefined;
    },
    agents,
    event: (_migration, { reason }) => void did.push(`event ${reason}`),
    enqueue: (_key, after = 0) => void did.push(`again in ${after}`),
    now: () => observe().now,
    log: pino({ level: 'silent' }),
  };
  const reconciler = new Reconciler(ports);
  return { did, state, agents, ports, reconciler, reconcile: () => reconciler.reconcile(key, signal) };
}

/** Shipping: waits for both agents. */
const shipping = () => ({ source: sourceIs('Checkpointed', { leaseLeft: 29_000 }), destination: targetIs('Prepared') });

test('the status is written before the actions are done, and the next round sees both', async () => {
  const { did, reconcile } = start(statusAt('Preparing'), (current) => ({
    placeholder: did.includes('createPod') ? placeholder() : undefined,
    destination: current.status?.target ? targetIs(did.includes('setTarget') ? 'Prepared' : 'Unknown') : undefined,
    source: current.status?.phase === 'Shipping' ? undefined : sourceIs('Checkpointed', { leaseLeft: 29_000 }),
  }));
  await reconcile();
  expect(did.filter((what) => !what.startsWith('event'))).toEqual([
    'write Preparing',
    'createPod',
    // The node that was chosen, before its agent is asked. That it is asked need not be written.
    'write Preparing',
    'setTarget',
    'write Freezing',
    'write Shipping',
    'write Shipping',
    'again in 1000',
  ]);
});

test('a round that only wrote goes on with what was written; after an action it is read again', async () => {
  const { did, ports, reconcile } = start(statusAt('Preparing'), (current) => ({
    placeholder: did.includes('createPod') ? placeholder() : undefined,
    destination: current.status?.target ? targetIs(did.includes('setTarget') ? 'Prepared' : 'Unknown') : undefined,
    source: sourceIs('Checkpointed', { leaseLeft: 29_000 }),
  }));
  const { getMigration } = ports;
  let reads = 0;
  ports.getMigration = (...ref) => {
    reads++;
    return getMigration(...ref);
  };
  await reconcile();
  const actions = did.filter((what) => what === 'createPod' || what === 'setTarget').length;
  expect(actions).toBe(2);
  expect(reads).toBe(1 + actions);
});

test('what was written here is no news when the cache shows it, once', async () => {
  const { did, state, reconcile, reconciler } = start(statusAt('Shipping'), shipping);
  const before = state.current as Migration;
  await reconcile();
  expect(did).toContain('write Shipping');
  const shown = state.current as Migration;
  expect(reconciler.wrote(before)).toBe(false);
  expect(reconciler.wrote(shown)).toBe(true);
  expect(reconciler.wrote(shown)).toBe(false);
});

test('what is satisfied waits: for both agents and for its time', async () => {
  const { did, agents, reconcile } = start(statusAt('Shipping'), shipping);
  await reconcile();
  expect(did.filter((what) => what !== 'write Shipping')).toEqual(['again in 10000']);
  expect(agents.waits).toMatchObject([
    { side: 'sources', nodeName: 'node-a', revision: 3 },
    { side: 'targets', nodeName: 'node-b', revision: 5 },
  ]);
});

test('a status that says the same is not written', async () => {
  const { did, reconcile } = start(statusAt('Shipping'), shipping);
  await reconcile();
  const before = did.length;
  await reconcile();
  expect(did.slice(before)).toEqual(['again in 10000']);
});

test('one wait a side at a time; its end, or its failure, looks again', async () => {
  const { did, agents, reconcile } = start(statusAt('Shipping'), shipping);
  await reconcile();
  await reconcile();
  expect(agents.waits).toHaveLength(2);
  agents.waits[0]?.end();
  await settle();
  expect(did.at(-1)).toBe('again in 0');
  agents.waits[1]?.fail();
  await settle();
  expect(did.at(-1)).toBe('again in 1000');
  await reconcile();
  expect(agents.waits).toHaveLength(4);
});

test('a time that is over is not asked for at once without end', async () => {
  const { did, reconcile } = start({ phase: 'Succeeded', steps: { finished: new Date(observe().now - 59_999).toISOString() } });
  await reconcile();
  expect(did).toContain('removeFinalizer');
  const due = start({ phase: 'Succeeded', steps: { finished: new Date(observe().now - 59_999).toISOString() } });
  due.state.current = migration({
    metadata: { finalizers: [] },
    spec: { ttlSecondsAfterFinished: 60 },
    status: due.state.current?.status ?? {},
  });
  await due.reconcile();
  expect(due.did).toEqual(['again in 50']);
});

test("a conflict is somebody else's to write first: nothing is done, and it is told", async () => {
  const { did, ports, reconcile } = start(statusAt('Preparing'));
  const conflict = new Error('409 Conflict');
  ports.writeStatus = () => Promise.reject(conflict);
  await expect(reconcile()).rejects.toBe(conflict);
  expect(did).toEqual([]);
});

describe('an action that fails ends the round', () => {
  const failing = async (...[status, seen]: Parameters<typeof start>) => {
    const { did, ports, reconcile } = start(status, seen);
    ports.act = async (_migration, action, stop) => {
      did.push(action.type);
      if (action.type === 'setSource' || action.type === 'deletePod') throw new Error('the agent is gone');
      await sleep(1);
      did.push(stop.aborted ? 'ended' : 'done');
      return undefined;
    };
    await expect(reconcile()).rejects.toThrow('the agent is gone');
    return did;
  };

  test('what is done at the same time is ended and waited for', async () => {
    const arrived = { source: sourceIs('Shipped'), destination: targetIs('Complete') };
    expect(await failing(statusAt('Shipping'), () => arrived)).toEqual([
      'write Holding',
      'setSource',
      'setTarget',
      'ended',
      'event Shipped',
    ]);
  });

  test('the ones after it are not done', async () => {
    const sourcePod = pod();
    const manifest = { metadata: { name: sourcePod.metadata.name }, spec: sourcePod.spec };
    const source = { name: sourcePod.metadata.name, uid: sourcePod.metadata.uid ?? '', nodeName: 'node-a', manifest };
    const status = { source, switchKind: 'Recreate', target: { nodeName: 'node-b', name: source.name } } as const;
    expect(await failing(statusAt('Switching', status), () => ({ sourcePod, targetPod: sourcePod }))).toEqual([
      'write Switching',
      'deletePod',
    ]);
  });
});

describe('from the arrival to the switch', () => {
  const arriving = (answers: boolean) => {
    const started = start(statusAt('Shipping'), () => ({
      source: sourceIs(did.includes('setSource') ? 'Held' : 'Shipped'),
      destination: targetIs(did.includes('setTarget') ? 'Serving' : 'Complete'),
      sourcePod: pod(did.includes('releasePod') ? { metadata: { labels: { 'podferry.io/role': 'source' } } } : undefined),
    }));
    const { did, ports } = started;
    const { getMigration, observe: look } = ports;
    ports.getMigration = (...ref) => {
      did.push('read');
      return getMigration(...ref);
    };
    ports.observe = (...seen) => {
      did.push('look');
      return look(...seen);
    };
    ports.act = async (_migration, { type }) => {
      did.push(type);
      if (type === 'setSource') return { source: sourceView(answers ? 'Held' : 'Shipped') };
      return type === 'setTarget' ? { destination: targetView('Serving') } : undefined;
    };
    return { ...started, told: () => did.filter((what) => !what.startsWith('event')) };
  };

  test('nobody is asked for what was just heard, and the phase is written before the source is let go', async () => {
    const { reconcile, told, did } = arriving(true);
    await reconcile();
    expect(told()).toEqual([
      'read',
      'look',
      'write Holding',
      'setSource',
      'setTarget',
      'write Switching',
      'releasePod',
      'read',
      'look',
      'write Switching',
      expect.stringMatching(/^again in/),
    ]);
    // The pod stands still; people are told of it afterwards.
    expect(did.slice(-2)).toEqual(['event Shipped', 'event Switching']);
  });

  test('an agent that is not so far is told once more; what is told without being written is followed by a look', async () => {
    const { reconcile, told } = arriving(false);
    await reconcile();
    expect(told().slice(2, 9)).toEqual(['write Holding', 'setSource', 'setTarget', 'setSource', 'setTarget', 'read', 'look']);
  });
});

/** How often the Migration has been read since. */
function countReads(ports: ReconcilerPorts): () => number {
  const { getMigration } = ports;
  let reads = 0;
  ports.getMigration = (...ref) => {
    reads++;
    return getMigration(...ref);
  };
  return () => reads;
}

test('what was written here last is not read again, until somebody changes it or writing fails', async () => {
  const { ports, reconcile, reconciler, state } = start(statusAt('Shipping'), shipping);
  const { writeStatus } = ports;
  const reads = countReads(ports);
  await reconcile();
  expect(reads()).toBe(1);
  const own = state.current as Migration;
  await reconcile();
  expect(reconciler.wrote(own)).toBe(true);
  await reconcile();
  expect(reads()).toBe(1);
  expect(reconciler.wrote({ ...own, metadata: { ...own.metadata, resourceVersion: '99' } })).toBe(false);
  await reconcile();
  expect(reads()).toBe(2);
  // It is satisfied and writes nothing, so that it is read each time from here on.
  state.seen = () => ({ source: sourceIs('Shipped'), destination: targetIs('Complete') });
  ports.writeStatus = () => Promise.reject(new Error('409 Conflict'));
  await expect(reconcile()).rejects.toThrow('409 Conflict');
  ports.writeStatus = writeStatus;
  state.seen = shipping;
  await reconcile();
  expect(reads()).toBe(4);
});

test('what somebody changed before the answer to a write was there is read', async () => {
  const { ports, reconcile, reconciler, state } = start(statusAt('Shipping'), shipping);
  const { writeStatus } = ports;
  const reads = countReads(ports);
  ports.writeStatus = async (...given) => {
    const written = await writeStatus(...given);
    state.current = { ...written, metadata: { ...written.metadata, resourceVersion: '99' } };
    reconciler.wrote(state.current);
    return written;
  };
  await reconcile();
  expect(reads()).toBe(1);
  await reconcile();
  expect(reads()).toBe(2);
});

test('actions without effect: after many rounds it rests', async () => {
  const { did, reconcile } = start(statusAt('Freezing'), () => ({ source: sourceIs('Unknown'), destination: targetIs('Prepared') }));
  await reconcile();
  expect(did.filter((what) => what === 'setSource')).toHaveLength(40);
  expect(did.filter((what) => what.startsWith('write'))).toHaveLength(1);
  expect(did.at(-1)).toBe('again in 5000');
});

test('events are told of what was written, and once', async () => {
  const { did, state, reconcile } = start(undefined, (current) => ({
    rivalMigration: isFinished(current) ? undefined : 'first',
    sourcePod: pod(),
  }));
  await reconcile();
  await reconcile();
  expect(did[0]).toBe('write Failed');
  expect(did.filter((what) => what.startsWith('event'))).toEqual(['event AlreadyMigrating', 'event MigrationFailed']);
  expect(state.current?.status?.phase).toBe('Failed');
});

describe('waits end', () => {
  const waiting = async () => {
    const started = start(statusAt('Shipping'), shipping);
    await started.reconcile();
    const before = started.did.length;
    const since = async () => {
      await settle();
      return started.did.slice(before);
    };
    return { ...started, since };
  };
  const aborted = ({ waits }: WaitingAgents) => waits.map(({ signal: stop }) => stop.aborted);

  test('with a Migration that is gone', async () => {
    const { agents, state, reconcile, reconciler, since } = await waiting();
    state.current = undefined;
    reconciler.forget(key);
    await reconcile();
    expect(aborted(agents)).toEqual([true, true]);
    expect(await since()).toEqual([]);
  });

  test('with one that has come to its end', async () => {
    const { agents, state, reconcile, reconciler } = await waiting();
    reconciler.forget(key);
    state.current = migration({ metadata: { finalizers: [] }, status: { phase: 'Failed' } });
    await reconcile();
    expect(aborted(agents)).toEqual([true, true]);
  });

  test('with the lead of this replica', async () => {
    const { agents, reconciler, since } = await waiting();
    reconciler.stop();
    expect(aborted(agents)).toEqual([true, true]);
    expect(await since()).toEqual([]);
  });
});
