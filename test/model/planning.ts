import type { Observed, SourceView, TargetView } from '../../src/api/agent.ts';
import type { Action, Observation, Plan } from '../../src/plan/migration/index.ts';
import { Interned } from './intern.ts';
import { baseImageOf, imageOf, migrationObject, nodeObject, podObject, sourceName } from './objects.ts';
import { epoch, statusAt, statusNumber } from './statuses.ts';
import { answers, type Look, type MigrationState, migrationOf, type Node, type PodState, podNamed, type World } from './world.ts';

/** What is driven: the real planner, or one that is broken on purpose. */
export type Planner = (observation: Observation) => Plan;

/** A plan as far as it does something. */
export interface Intent {
  /** Interned status to write; absent when the words stay the same. */
  status?: number;
  /** In one of the orders in which they may be done. */
  actions: Action[];
  /** How many of them are done before the status is written. */
  before: number;
}

/** Agents whose answer is lost in this one look. */
export type Lost = '' | 'source' | 'destination';

/** How the agents are seen in one look. */
export interface View {
  lost: Lost;
  /** Agents tell which pod's start they saw. */
  showsPod: boolean;
  /** Agents tell whether a target that was revoked still runs. */
  showsLife: boolean;
}

export const settings = { placeholderImage: 'pause', leaseMilliseconds: 30_000 };
const muchLater = 30 * 24 * 3600_000;
const stamp = new Date(epoch).toISOString();
const silent = { reachable: false, message: 'no answer' } as const;

const intents = new Interned<Intent>();

export function intentAt(id: number): Intent {
  return intents.get(id);
}

export function intentText(id: number): string {
  return intents.text(id);
}

/** What the controller saw of the API server. */
export function lookAt(world: World, m: number): Look {
  const { status, del, late } = migrationOf(world, m);
  const { placeholder, target } = statusAt(status);
  const names = new Set([sourceName(world.owner.kind, m), placeholder, target?.name]);
  return { status, del, late, pods: world.pods.filter(({ name }) => names.has(name)), fresh: true };
}

function sourceView(world: World, m: number): SourceView {
  const { source } = migrationOf(world, m);
  if (!source) return { revision: 1, state: 'Unknown', containers: [] };
  const { st, error, archive, returning, pushed, lost } = source;
  return {
    revision: 1,
    state: st,
    ...(st === 'Running' || st === 'Resuming' || st === 'Held' ? {} : { leaseLeft: settings.leaseMilliseconds }),
    ...(error ? { error: { step: error, message: error } } : {}),
    ...(lost ? { lost: 'ended' } : {}),
    ...(returning ? { returning: true } : {}),
    ...(st === 'Held' && !archive ? { returnFailure: 'lost' } : {}),
    containers: [{ name: 'app', bytesSent: pushed ? 1 : 0, ...(archive ? { archiveBytes: 1 } : {}) }],
  };
}

function isAlive(world: World, node: Node, pod: string): boolean {
  return world.procs.some((process) => process.node === node && process.name === pod);
}

function targetView(world: World, m: number, node: Node, { showsPod, showsLife }: View): TargetView {
  const record = migrationOf(world, m).targets[node];
  if (!record) return { revision: 1, state: 'Unknown', containers: [] };
  const { st, token, started } = record;
  return {
    revision: 1,
    state: st,
    repository: token,
    ...(st === 'Revoked' && showsLife ? { live: isAlive(world, node, record.pod) } : {}),
    containers: [
      {
        name: 'app',
        rootfsImageRef: baseImageOf(token),
        checkpointImage: imageOf(token),
        ...(started ? { startedAt: stamp, ...(showsPod ? { startedBy: started } : {}) } : {}),
      },
    ],
  };
}

const cache = new WeakMap<Planner, Map<string, number[]>>();

function cacheOf(planner: Planner): Map<string, number[]> {
  const known = cache.get(planner);
  if (known) return known;
  const made = new Map<string, number[]>();
  cache.set(planner, made);
  return made;
}

/**
 * What follows from a look at the API server and, later or at once, at the agents, once for each order in which it may be done. The same
 * view always gives the same.
 */
export function intend(planner: Planner, world: World, m: number, look: Look, view: View): number[] {
  const { lost, showsPod, showsLife } = view;
  const { kind, gone } = world.owner;
  const { finalizer, source, targets } = migrationOf(world, m);
  const { a, b } = world.nodes;
  const { status, del, late, pods } = look;
  const answering = [answers(a) && lost !== 'source', answers(b) && lost !== 'destination'];
  const alive = (['a', 'b'] as const).map((node) => showsLife && isAlive(world, node, targets[node]?.pod ?? ''));
  const facts = [alive, m, kind, gone, status, del, late, finalizer, pods, a.object, b.object, answering, showsPod, source, targets];
  const known = cacheOf(planner);
  const text = JSON.stringify(facts);
  let ids = known.get(text);
  if (ids === undefined) {
    ids = intentsOf(planner(observe(world, m, look, view)), status).map((intent) => intents.put(intent));
    known.set(text, ids);
  }
  return ids;
}

function observe(world: World, m: number, look: Look, view: View): Observation {
  const { lost } = view;
  const { kind, gone } = world.owner;
  const { finalizer }: Pick<MigrationState, 'finalizer'> = migrationOf(world, m);
  const status = statusAt(look.status);
  const seen = (name: string | undefined) => {
    const pod = podNamed({ pods: look.pods as readonly PodState[] } as World, name);
    return pod && podObject(kind, pod);
  };
  const asked = !['Pending', 'Succeeded', 'Failed'].includes(status.phase ?? 'Pending');
  const lostNode = lost === 'source' ? status.source?.nodeName : lost === 'destination' ? 'b' : undefined;
  const answering = (node: Node) => answers(world.nodes[node]) && lostNode !== node;
  const destinationOf = (node: string | undefined): Observed<TargetView> | undefined => {
    if (!asked || !node) return undefined;
    return answering(node as Node) ? { reachable: true, view: targetView(world, m, node as Node, view) } : silent;
  };
  const nodeOf = (node: string | undefined) => (node && world.nodes[node as Node].object ? nodeObject(node as Node) : undefined);
  const sourceNode = status.source?.nodeName;
  const targetNode = status.target?.nodeName;
  const undoing = status.phase === 'RollingBack' || status.phase === 'Returning';
  return {
    now: look.late ? epoch + muchLater : epoch,
    migration: migrationObject(kind, m, { status: look.status, finalizer, del: look.del }),
    sourcePod: seen(sourceName(kind, m)),
    targetPod: seen(status.target?.name),
    placeholder: seen(status.placeholder),
    rivalMigration: undefined,
    turn: undefined,
    bytesPerSecond: undefined,
    cpus: { lacking: [] },
    budgets: [],
    namespaceEnabled: true,
    namespaceTerminating: false,
    unwanted: undoing && status.source?.owner !== undefined && gone ? 'its owner was deleted' : undefined,
    // The owner of the model is never scaled down.
    complete: undefined,
    sourceNode: nodeOf(sourceNode),
    destinationNode: nodeOf(targetNode ?? 'b'),
    source: asked && sourceNode ? (answering('a') ? { reachable: true, view: sourceView(world, m) } : silent) : undefined,
    destination: destinationOf(targetNode),
    failedDestination: destinationOf(status.failedDestination),
    destinationAddress: targetNode && answering(targetNode as Node) ? `${targetNode}:7443` : undefined,
    settings,
  };
}

function intentsOf(plan: Plan, before: number): Intent[] {
  const status = plan.status === undefined ? before : statusNumber(plan.status);
  const change = status === before ? {} : { status };
  const after = ordersOf(plan.actions);
  return permutations(plan.meanwhile ?? []).flatMap((meanwhile) =>
    // What is done while it is written may be done before or after.
    [...(change.status === undefined ? [] : meanwhile), undefined].flatMap((_action, count) =>
      after.map((actions) => ({ ...change, actions: [...meanwhile, ...actions], before: count })),
    ),
  );
}

/** What is done at the same time may be done in any order. */
function ordersOf([first, ...rest]: Plan['actions']): Action[][] {
  if (first === undefined) return [[]];
  const after = ordersOf(rest);
  return permutations([first].flat()).flatMap((begun) => after.map((actions) => [...begun, ...actions]));
}

function permutations(actions: Action[]): Action[][] {
  if (actions.length === 0) return [[]];
  return actions.flatMap((action) => permutations(actions.filter((other) => other !== action)).map((others) => [action, ...others]));
}
