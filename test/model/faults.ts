import { deleteMigration } from './api-server.ts';
import { type ControllerOptions, crashAgent, lostAnswers, lostLeads } from './controller.ts';
import { hasCopy } from './copies.ts';
import { forcedDeletions, impatience, peopleSteps } from './owner.ts';
import { checkpointFailures, crashSourceUnwritten, loseArchive } from './source-agent.ts';
import { isStalled, statusAt } from './statuses.ts';
import { webhookFailures } from './webhook.ts';
import {
  migrationOf,
  type Node,
  origin,
  removeProcess,
  type Step,
  type World,
  withMigration,
  withNode,
  withPod,
  withProcess,
} from './world.ts';

/** What goes wrong, each a kind of its own so that a configuration can leave it out. */

export type Fault =
  | 'lostLead'
  | 'lostAnswer'
  | 'agentCrash'
  | 'partition'
  | 'off'
  | 'archives'
  | 'restore'
  | 'checkpoint'
  | 'crash'
  | 'lost'
  | 'people'
  | 'force'
  | 'cancel'
  | 'refused'
  | 'impatience'
  | 'webhookDown';

export const allFaults: readonly Fault[] = [
  'lostLead',
  'lostAnswer',
  'agentCrash',
  'partition',
  'off',
  'archives',
  'restore',
  'checkpoint',
  'crash',
  'lost',
  'people',
  'cancel',
  'refused',
  'impatience',
  'webhookDown',
];

const nodes: readonly Node[] = ['a', 'b'];

/** The node's power is gone for good: processes end, records and archives are out of reach for ever. */
function powerOff(world: World, node: Node): World {
  const ended = world.procs.filter((process) => process.node === node).reduce((next, { uid }) => removeProcess(next, uid), world);
  const off = withNode(ended, node, { power: false, agent: false });
  const lost = world.migs.some((mig, m) => {
    if (!hasCopy(off, m)) return true;
    // Before the switch nothing but the source itself brings the pod on, and after the commit nothing but the target.
    const before = statusAt(mig.status).steps?.held === undefined || (statusAt(mig.status).phase === 'RollingBack' && !mig.source?.archive);
    return mig.committed || (node === origin && before);
  });
  return lost ? { ...off, excused: true } : off;
}

function nodeFaults(world: World, kinds: ReadonlySet<Fault>): Step[] {
  return nodes.flatMap((node) => {
    const { power, net, agent } = world.nodes[node];
    if (!power) return [];
    return [
      ...(kinds.has('agentCrash') && agent ? crashes(world, node) : []),
      ...(kinds.has('partition') && net ? [{ label: `fault: node ${node} is cut off`, world: withNode(world, node, { net: false }) }] : []),
      ...(kinds.has('off') ? [{ label: `fault: node ${node} is off for good`, world: powerOff(world, node) }] : []),
    ];
  });
}

/**
 * The origin is started again, or its disk fails, before the archives of a held pod are on it: they are worth nothing, and that is
 * known. Its processes have ended by then, or their kubelet starts them afresh.
 */
function archiveLosses(world: World): Step[] {
  if (!world.nodes[origin].power) return [];
  return world.migs.flatMap(({ source }, m) => {
    if (source?.st !== 'Held' || !source.archive) return [];
    const label = 'fault: node a is started again before the archives are on its disk';
    return [{ label, world: natural(withNode(startedAgain(loseArchive(world, m)), origin, { agent: false }), m) }];
  });
}

/** The source's processes end, and the kubelet starts afresh what the API server still has; what was restored here is left to `crash`. */
function startedAgain(world: World): World {
  return world.procs
    .filter(({ node, mem }) => node === origin && mem === 'src')
    .reduce(
      (next, { uid }) =>
        world.pods.some((pod) => pod.uid === uid) ? withProcess(next, uid, { mem: 'base', st: 'run' }) : removeProcess(next, uid),
      crashAgent(world, origin),
    );
}

/** This one restore fails, or all of them ever will. */
function restoreFailures(world: World): Step[] {
  return world.procs.flatMap((process) => {
    if (process.st !== 'pulled' || process.mem !== 'cp') return [];
    const ended = removeProcess(world, process.uid);
    const told = world.nodes[process.node].net && world.pods.some(({ uid, deleting }) => uid === process.uid && !deleting);
    const next = told ? withPod(ended, process.uid, { st: 'restorefail' }) : ended;
    return [
      { label: `fault: the restore of ${process.uid} fails`, world: next },
      { label: `fault: the restore of ${process.uid} fails, as every one will`, world: withMigration(next, process.m, { bad: true }) },
    ];
  });
}

function crashes(world: World, node: Node): Step[] {
  const label = `fault: the agent on node ${node} crashes`;
  const unwritten = node === origin ? world.migs.flatMap((_mig, m) => crashSourceUnwritten(world, m)) : [];
  return [
    { label, world: withNode(crashAgent(world, node), node, { agent: false }) },
    ...unwritten.map((lost) => ({ label: `${label} before its last step is on the disk`, world: withNode(lost, node, { agent: false }) })),
  ];
}

/** A restored process ends by itself, and its kubelet starts the container once more. */
function programCrashes(world: World): Step[] {
  return world.procs.flatMap((process) => {
    if (process.mem !== 'cp' || process.st !== 'run') return [];
    const ended = removeProcess(world, process.uid);
    const told = world.nodes[process.node].net;
    const next = told ? withPod(ended, process.uid, { restarted: true, st: 'pending', ready: 0 }) : ended;
    const committed = world.migs[process.m]?.committed ?? false;
    return [{ label: `fault: the program restored in ${process.uid} crashes`, world: committed ? { ...next, excused: true } : next }];
  });
}

/** The frozen processes are killed (a probe, memory), and their kubelet starts the container afresh. */
function losses(world: World): Step[] {
  return world.procs.flatMap((process) =>
    process.mem === 'src' && process.st === 'paused' && world.pods.some(({ uid }) => uid === process.uid)
      ? [
          {
            label: `fault: the frozen processes of ${process.uid} are killed, and the container begins afresh`,
            world: natural(withProcess(world, process.uid, { mem: 'base', st: 'run' }), process.m),
          },
        ]
      : [],
  );
}

/** What ends a pod's memory for good where no archive is promised yet is no fault of podferry's. */
function natural(world: World, m: number): World {
  return world.owner.kind === 'user' || statusAt(migrationOf(world, m).status).steps?.held === undefined
    ? { ...world, excused: true }
    : world;
}

function cancels(world: World): Step[] {
  return world.migs.flatMap((mig, m) => {
    if (mig.del || mig.gone) return [];
    const gives = statusAt(mig.status).phase === 'Returning' && isStalled(mig.status);
    const next = deleteMigration(world, m);
    return [{ label: 'fault: somebody deletes the Migration', world: gives ? { ...next, excused: true } : next }];
  });
}

export function faultSteps(options: ControllerOptions, kinds: ReadonlySet<Fault>, world: World): Step[] {
  if (world.budget === 0) return [];
  const steps = [
    ...(kinds.has('lostLead') ? lostLeads(world) : []),
    ...(kinds.has('lostAnswer') ? lostAnswers(options, world) : []),
    ...nodeFaults(world, kinds),
    ...(kinds.has('archives') ? archiveLosses(world) : []),
    ...(kinds.has('restore') ? restoreFailures(world) : []),
    ...(kinds.has('checkpoint') ? checkpointFailures(world) : []),
    ...(kinds.has('crash') ? programCrashes(world) : []),
    ...(kinds.has('lost') ? losses(world) : []),
    ...(kinds.has('people') ? peopleSteps(world) : []),
    ...(kinds.has('force') ? forcedDeletions(world) : []),
    ...(kinds.has('cancel') ? cancels(world) : []),
    ...(kinds.has('refused') && !world.owner.refused
      ? [{ label: 'fault: replacements are refused (a quota)', world: { ...world, owner: { ...world.owner, refused: true } } }]
      : []),
    ...(kinds.has('impatience') ? impatience(world) : []),
    ...(kinds.has('webhookDown') ? webhookFailures(world) : []),
  ];
  return steps.map(({ label, world: next }) => ({ label, world: { ...next, budget: world.budget - 1 } }));
}

/** What mends itself: agents are started again, networks come back. */
export function mendingSteps(world: World): Step[] {
  return nodes.flatMap((node) => {
    const { power, net, agent } = world.nodes[node];
    if (!power) return [];
    return [
      ...(agent ? [] : [{ label: `agent on node ${node}: starts again`, world: withNode(world, node, { agent: true }) }]),
      ...(net ? [] : [{ label: `node ${node} is reached again`, world: withNode(world, node, { net: true }) }]),
    ];
  });
}

/** Somebody deletes the Node object of a node that is off. */
export function nodeDeletions(world: World): Step[] {
  return nodes.flatMap((node) => {
    const { power, object } = world.nodes[node];
    if (!object || power) return [];
    const next = withNode(world, node, { object: false });
    // Nobody but its creator could make a provided pod again, and there is no source to go back to.
    const givenUp = node === origin && world.owner.kind === 'user';
    return [{ label: `operator: kubectl delete node ${node}`, world: givenUp ? { ...next, excused: true } : next }];
  });
}
