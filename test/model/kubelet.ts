import { handedTo, pull, servingFor } from './target-agent.ts';
import {
  addProcess,
  isConnected,
  migrationOf,
  type Node,
  type PodState,
  type Process,
  processOf,
  removePod,
  removeProcess,
  type Step,
  type World,
  withMigration,
  withPod,
  withProcess,
} from './world.ts';

/** The kubelets: they start what is bound to them, end what is to go, and tell the API server once they reach it. */

const nodes: readonly Node[] = ['a', 'b'];

/** The node's agent takes it for the target by its name and its image's. */
function started(world: World, process: Process): World {
  const next = withProcess(world, process.uid, { st: 'run', during: servingFor(world, process) });
  return process.mem === 'cp' ? withMigration(next, process.m, { ran: process.uid }) : next;
}

function isBad(world: World, process: Process): boolean {
  return process.m >= 0 && migrationOf(world, process.m).bad;
}

/** One pod that the API server has and its kubelet reaches. */
function podSteps(world: World, pod: PodState, retries: boolean): Step[] {
  const who = `kubelet ${pod.node}:`;
  const process = processOf(world, pod.uid);
  if (pod.deleting) {
    if (process) return [{ label: `${who} ends the processes of ${pod.uid}`, world: removeProcess(world, pod.uid) }];
    return [{ label: `${who} has removed pod ${pod.uid}`, world: removePod(world, pod.uid) }];
  }
  if (pod.kind === 'placeholder') {
    return pod.st === 'running'
      ? []
      : [{ label: `${who} runs the placeholder`, world: withPod(world, pod.uid, { st: 'running', ready: 2 }) }];
  }
  if (process) {
    const reported = pod.st === 'running' || process.st === 'pulled';
    return reported ? [] : [{ label: `${who} reports ${pod.uid} running`, world: withPod(world, pod.uid, { st: 'running', ready: 1 }) }];
  }
  if (pod.st === 'restorefail' && !retries) return [];
  const { uid, name, node, m, token } = pod;
  const mem = token === '' ? 'base' : pull(world, m, node, token, uid);
  if (mem) {
    const next = addProcess(mem === 'cp' ? handedTo(world, m, node, uid) : world, {
      uid,
      name,
      node,
      mem,
      m,
      st: 'pulled',
      token,
      during: '',
    });
    return [{ label: `${who} pulls the ${mem === 'cp' ? 'checkpoint' : 'base image'} for ${uid}`, world: next }];
  }
  return pod.st === 'pullfail' ? [] : [{ label: `${who} cannot pull for ${uid}`, world: withPod(world, uid, { st: 'pullfail' }) }];
}

/** One start that the kubelet has all for, whether it reaches the API server or not. */
function startSteps(world: World, process: Process): Step[] {
  const pod = world.pods.find(({ uid }) => uid === process.uid);
  const reports = pod && isConnected(world.nodes[process.node]) && !pod.deleting;
  if (process.mem === 'cp' && isBad(world, process)) {
    const ended = removeProcess(world, process.uid);
    return [
      {
        label: `kubelet ${process.node}: the restore of ${process.uid} fails`,
        world: reports ? withPod(ended, process.uid, { st: 'restorefail' }) : ended,
      },
    ];
  }
  const next = started(world, process);
  return [
    {
      label: `kubelet ${process.node}: ${process.mem === 'cp' ? 'restores' : 'starts'} ${process.uid}`,
      world: reports ? withPod(next, process.uid, { st: 'running', ready: pod.restarted ? 1 : 2 }) : next,
    },
  ];
}

/** @param retries whether a restore that failed is tried again, as happens after some time */
export function kubeletSteps(world: World, retries = true): Step[] {
  const steps: Step[] = [];
  for (const node of nodes) {
    const state = world.nodes[node];
    if (!state.power) continue;
    for (const process of world.procs) {
      if (process.node !== node) continue;
      if (process.st === 'pulled') steps.push(...startSteps(world, process));
      if (isConnected(state) && !world.pods.some(({ uid }) => uid === process.uid)) {
        steps.push({ label: `kubelet ${node}: ends what is left of ${process.uid}`, world: removeProcess(world, process.uid) });
      }
    }
    if (!isConnected(state)) continue;
    for (const pod of world.pods) if (pod.node === node) steps.push(...podSteps(world, pod, retries));
  }
  return steps;
}

/** A pod whose node's object is gone is collected; nobody on the node is asked. */
export function podGarbageSteps(world: World): Step[] {
  return world.pods
    .filter(({ node }) => !world.nodes[node].object)
    .map(({ uid, node }) => ({ label: `pod collector: pod ${uid} goes with node ${node}`, world: removePod(world, uid) }));
}

/**
 * A frozen pod fails its readiness probe. Only told where it makes a difference: when its owner has another pod beside
 * it, one of which may have to go.
 */
export function readinessSteps(world: World): Step[] {
  if (!world.pods.some(({ kind, owned }) => kind === 'fresh' && owned)) return [];
  return world.pods.flatMap((pod) => {
    const process = processOf(world, pod.uid);
    if (pod.kind !== 'source' || pod.deleting || !isConnected(world.nodes[pod.node]) || !process) return [];
    if (process.st === 'paused' && pod.ready > 0)
      return [{ label: `kubelet ${pod.node}: ${pod.uid} is not Ready`, world: withPod(world, pod.uid, { ready: 0 }) }];
    if (process.st === 'run' && pod.ready === 0)
      return [{ label: `kubelet ${pod.node}: ${pod.uid} is Ready again`, world: withPod(world, pod.uid, { ready: 1 }) }];
    return [];
  });
}
