import { labels, roles } from '../../src/api/names.ts';
import type { Pod } from '../../src/api/pod.ts';
import type { Action } from '../../src/plan/migration/index.ts';
import { deleteMigration, deletePod, freePodName, freshUid, setFinalizer, writeStatus } from './api-server.ts';
import { intend, intentAt, type Lost, lookAt, type Planner } from './planning.ts';
import { crashSource, forgetSource, setSource } from './source-agent.ts';
import { statusAt, wordsOf } from './statuses.ts';
import { forgetTarget, setTarget } from './target-agent.ts';
import { addCall, plain } from './webhook.ts';
import {
  addPod,
  answers,
  migrationOf,
  type Node,
  origin,
  type PodState,
  podNamed,
  type Step,
  versionOf,
  type Work,
  type World,
  withMigration,
  withPod,
} from './world.ts';

/** The controller: look, plan, write the status, then one action after the other, in any order where the plan says so (src/controller/reconciler.ts, act.ts). */

export interface ControllerOptions {
  planner: Planner;
  /** The API server is looked at first and the agents at a later moment, as two reads under way at once may turn out. */
  looksApart: boolean;
  /** The owner is always faster than the controller's own create of a pod under its old name. */
  ownerIsFaster: boolean;
  /** Weaknesses of src/agent that are modelled as they are; the others as if mended. */
  asIs: ReadonlySet<Weakness>;
}

/**
 * started: agents do not tell which pod's start they saw. lost: an agent told to resume a held pod does not look whether
 * its processes are there still. late: what a controller that lost the lead began is done however late it arrives: the
 * source's deletion or release after a roll back has begun, a goal for a migration that its agent was told to forget. cost: a source that is given
 * back, frozen, counts for less with its ReplicaSet than a fresh pod that is Ready. live: agents do not tell whether the
 * target's processes still run after its object is gone.
 */
export type Weakness = 'started' | 'lost' | 'late' | 'cost' | 'live';

/** What an agent was to do for a controller that does not get through: the call fails, and with it the rest of the plan. */
const failed = undefined;

/** An action's effect, or undefined where the call fails. A conflict over a pod's uid is no failure. */
function act(options: ControllerOptions, world: World, m: number, action: Action, work: Work, late: boolean): World | undefined {
  const podWith = (uid: string) => world.pods.find((pod) => pod.uid === uid);
  /** The pod, if it still is in the version that was named. */
  const podAt = (uid: string, version: string | undefined) => {
    const pod = podWith(uid);
    return pod && (version === undefined || options.asIs.has('late') || versionOf(pod) === version) ? pod : undefined;
  };
  switch (action.type) {
    case 'addFinalizer':
    case 'removeFinalizer':
      return work.fresh ? setFinalizer(world, m, action.type === 'addFinalizer') : failed;
    case 'deleteMigration':
      return deleteMigration(world, m);
    case 'createPod':
      return createPod(options, world, m, action.pod, late);
    case 'deletePod':
      return podAt(action.uid, action.resourceVersion) ? deletePod(world, action.uid, action.gracePeriodSeconds === 0) : world;
    case 'releasePod':
      return podAt(action.uid, action.resourceVersion) ? withPod(world, action.uid, { released: true }) : world;
    case 'giveBackPod':
      return podWith(action.uid) ? withPod(world, action.uid, { released: false }) : world;
    case 'claimPod': {
      const pod = podWith(action.uid);
      return pod && versionOf(pod) === action.resourceVersion ? withPod(world, action.uid, { claim: m, fenced: false }) : failed;
    }
    case 'fencePod':
      return podWith(action.uid) ? withPod(world, action.uid, { claim: m, fenced: true }) : world;
    case 'unclaimPod':
      return podWith(action.uid)?.claim === m ? withPod(world, action.uid, { claim: -1, fenced: false }) : world;
    case 'clearRequest':
      return world;
    case 'setSource':
      return answers(world.nodes[origin])
        ? setSource(
            options.asIs.has('late') ? withMigration(world, m, { forgotten: false }) : world,
            m,
            action.request,
            late,
            options.asIs.has('lost'),
          )
        : failed;
    case 'forgetSource':
      return answers(world.nodes[origin]) ? forgetSource(world, m) : failed;
    case 'setTarget':
      return answers(world.nodes[action.nodeName as Node]) ? setTarget(world, m, action.nodeName as Node, action.request) : failed;
    case 'forgetTarget':
      return answers(world.nodes[action.nodeName as Node]) ? forgetTarget(world, m, action.nodeName as Node) : failed;
  }
}

function createPod(options: ControllerOptions, world: World, m: number, { metadata: { name, labels: given } }: Pod, late: boolean): World {
  if (given?.[labels.role] !== roles.placeholder) {
    if (options.ownerIsFaster && !world.owner.gone && !world.owner.refused) {
      return podNamed(world, name) || world.calls.some(({ by }) => by === 'owner')
        ? world
        : addCall(world, { id: 'owner', by: 'owner', m: -1, name, pod: null });
    }
    const id = `controller/${m}${late ? '/old' : ''}`;
    return world.calls.some((call) => call.id === id) ? world : addCall(world, { id, by: 'controller', m, name, pod: null });
  }
  if (!freePodName(world, name)) return world;
  const pod: PodState = { ...plain, uid: freshUid(world, 'p'), name, node: 'b', kind: 'placeholder', m, owned: false };
  return addPod(world, pod);
}

function describe(action: Action): string {
  switch (action.type) {
    case 'setSource':
      return `tells the source's agent ${action.request.goal}`;
    case 'setTarget':
      return `tells the agent on node ${action.nodeName} ${action.request.goal}`;
    case 'forgetTarget':
      return `has node ${action.nodeName} forget the migration`;
    case 'forgetSource':
      return 'has the source forget the migration';
    case 'createPod':
      return `creates pod ${action.pod.metadata.name}`;
    case 'deletePod':
      return `deletes pod ${action.uid}${action.gracePeriodSeconds === 0 ? ' at once' : ''}`;
    case 'releasePod':
    case 'giveBackPod':
      return `${action.type} ${action.uid}`;
    default:
      return action.type;
  }
}

/** The next step of work that is planned. */
function goOn(options: ControllerOptions, world: World, m: number, work: Work, slot: 'work' | 'ghost'): Step {
  const who = `${slot === 'ghost' ? 'old controller' : 'controller'}${world.migs.length > 1 ? ` (migration ${m})` : ''}:`;
  const { status, actions, before } = intentAt(work.plan);
  const set = (next: World, value: Work | null) => withMigration(next, m, { [slot]: value });
  if (work.stage === 'write' && work.next === before) {
    if (!work.fresh) return { label: `${who} conflict at its status write`, world: set(world, null) };
    const phase = statusAt(status ?? 0).phase;
    const written = writeStatus(world, m, status ?? 0);
    const label = `${who} writes ${phase}: ${wordsOf(status ?? 0)}`;
    return { label, world: set(written, actions.length > work.next ? { ...work, stage: 'act' } : null) };
  }
  const action = actions[work.next] as Action;
  const label = `${who} ${describe(action)}`;
  const done = act(options, world, m, action, work, slot === 'ghost');
  if (!done) return { label: `${label} (fails)`, world: set(world, null) };
  const last = work.stage === 'act' && work.next + 1 >= actions.length;
  return { label, world: set(done, last ? null : { ...work, fresh: migrationOf(done, m)[slot]?.fresh ?? false, next: work.next + 1 }) };
}

/** A plan that does nothing is none. */
function begin(world: World, m: number, plan: number, fresh: boolean): World | undefined {
  const { status, actions } = intentAt(plan);
  if (status === undefined && actions.length === 0) return undefined;
  const work: Work = { plan, stage: status === undefined ? 'act' : 'write', next: 0, fresh };
  return withMigration(world, m, { work, look: null });
}

function plans(options: ControllerOptions, world: World, m: number, lost: Lost): Step[] {
  const { look, gone } = migrationOf(world, m);
  if (gone && !look) return [];
  const who = world.migs.length > 1 ? `controller (migration ${m}):` : 'controller:';
  if (options.looksApart && !look) {
    const next = lookAt(world, m);
    return [{ label: `${who} looks at the API server`, world: withMigration(world, m, { look: next }) }];
  }
  const seen = look ?? lookAt(world, m);
  const orders = intend(options.planner, world, m, seen, {
    lost,
    showsPod: !options.asIs.has('started'),
    showsLife: !options.asIs.has('live'),
  });
  const words = lost ? `plans without an answer of the ${lost}'s agent` : 'plans';
  const begun = orders.flatMap((plan) => {
    const next = begin(world, m, plan, seen.fresh);
    return next ? [{ label: `${who} ${words}`, world: next }] : [];
  });
  if (begun.length > 0) return begun;
  return look ? [{ label: `${who} finds nothing to do`, world: withMigration(world, m, { look: null }) }] : [];
}

export function controllerSteps(options: ControllerOptions, world: World): Step[] {
  return world.migs.flatMap((mig, m) => {
    const own = mig.work ? [goOn(options, world, m, mig.work, 'work')] : plans(options, world, m, '');
    return mig.ghost ? [...own, goOn(options, world, m, mig.ghost, 'ghost')] : own;
  });
}

/** An agent's answer does not come in time, just this once. */
export function lostAnswers(options: ControllerOptions, world: World): Step[] {
  return world.migs.flatMap((mig, m) => {
    if (mig.work || mig.gone || (options.looksApart && !mig.look)) return [];
    return (['source', 'destination'] as const).flatMap((lost) =>
      plans(options, world, m, lost).map(({ label, world: next }) => ({ label: `fault: ${label}`, world: next })),
    );
  });
}

function isActing({ plan, stage, next }: Work): boolean {
  return stage === 'act' || next < intentAt(plan).before;
}

/**
 * The controller stops where it is, and another one takes over; what it had in hand it may still do, at any time, or
 * never. That covers a crash, and calls that are lost, late, or repeated. (One that stops before its status write adds
 * nothing: of two that planned from the same version one writes and the other has a conflict, whichever of them is slow.)
 */
export function lostLeads(world: World): Step[] {
  return world.migs.flatMap((mig, m) =>
    mig.work && isActing(mig.work) && !mig.ghost
      ? [
          {
            label: 'fault: the controller loses the lead',
            world: { ...withMigration(world, m, { ghost: mig.work, work: null }), haunted: true },
          },
        ]
      : [],
  );
}

/** What the crash of a node's agent does to what only its memory had. */
export function crashAgent(world: World, node: Node): World {
  return node === origin ? world.migs.reduce((next, _mig, m) => crashSource(next, m), world) : world;
}
