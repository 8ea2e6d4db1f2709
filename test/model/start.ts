import { sourceName } from './objects.ts';
import { noStatus } from './statuses.ts';
import type { MigrationState, NodeState, OwnerKind, World } from './world.ts';

const node: NodeState = { object: true, power: true, net: true, agent: true };

const untouched: MigrationState = {
  status: noStatus,
  finalizer: false,
  del: 0,
  gone: false,
  late: false,
  source: null,
  forgotten: false,
  targets: { a: null, b: null },
  look: null,
  work: null,
  ghost: null,
  committed: false,
  ran: '',
  bad: false,
};

/** Pods run on node a, and a Migration to node b was just made for each. */
export function startOf(kind: OwnerKind, budget: number, timers = 2, migrations = 1): World {
  const all = Array.from({ length: migrations }, (_one, m) => m);
  return {
    migs: all.map(() => untouched),
    pods: all.map((m) => ({
      uid: `s${m}`,
      name: sourceName(kind, m),
      node: 'a',
      kind: 'source',
      m,
      owned: kind === 'ReplicaSet' || kind === 'StatefulSet',
      released: false,
      deleting: false,
      claim: -1,
      fenced: false,
      st: 'running',
      token: '',
      restarted: false,
      ready: 2,
    })),
    procs: all.map((m) => ({ uid: `s${m}`, name: sourceName(kind, m), node: 'a', mem: 'src', m, st: 'run', token: '', during: '' })),
    nodes: { a: node, b: node },
    owner: { kind, gone: false, refused: false },
    calls: [],
    budget,
    timers,
    excused: false,
    haunted: false,
  };
}
