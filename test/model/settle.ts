import { deleteMigration } from './api-server.ts';
import { clockSteps } from './clock.ts';
import { type ControllerOptions, controllerSteps } from './controller.ts';
import { isOver, running } from './copies.ts';
import { mendingSteps, nodeDeletions } from './faults.ts';
import { hash } from './intern.ts';
import { violation } from './invariants.ts';
import { kubeletSteps, podGarbageSteps, readinessSteps } from './kubelet.ts';
import { ownerSteps } from './owner.ts';
import { leaseSteps, sourceAgentSteps } from './source-agent.ts';
import { isStalled, statusAt, wordsOf } from './statuses.ts';
import { sweepSteps } from './sweeper.ts';
import { targetAgentSteps } from './target-agent.ts';
import { webhookSteps } from './webhook.ts';
import { type Step, type World, withNode } from './world.ts';

/** Everybody does what is to be done, no fault happens any more: does it come to a good end? */

export interface Outcome {
  problem?: string;
  labels: string[];
}

const limit = 2000;

/** Old controllers have died, faults are over. */
function calm(world: World): World {
  return { ...world, budget: 0, timers: 1, migs: world.migs.map((mig) => (mig.ghost ? { ...mig, ghost: null } : mig)) };
}

export class Settler {
  readonly #options: ControllerOptions;
  readonly #good = new Set<number>();

  constructor(options: ControllerOptions) {
    this.#options = options;
  }

  /** What becomes of a world when nothing fails any more. */
  settle(start: World): Outcome {
    const labels: string[] = [];
    const seen: number[] = [];
    const done = this.#stages(calm(start), labels, seen);
    if (done === undefined) {
      for (const key of seen) this.#good.add(key);
      return { labels };
    }
    return { problem: done, labels };
  }

  #stages(start: World, labels: string[], seen: number[]): string | undefined {
    const first = this.#run(start, labels, seen);
    if (!('world' in first)) return first.problem;
    let { world } = first;
    const waits = this.#waits(world, first.stalled);
    if (waits) return waits;
    // People do what is left to them: bring nodes back, delete those that are off.
    const repaired = repair(world, labels);
    if (repaired !== world) {
      const second = this.#run(repaired, labels, seen);
      if (!('world' in second)) return second.problem;
      world = second.world;
      const still = this.#waits(world, second.stalled);
      if (still) return still;
    }
    const open = world.migs.findIndex((_mig, m) => !isOver(world, m));
    if (open >= 0) {
      const words = wordsOf(world.migs[open]?.status ?? 0);
      // The finalizer taken off by hand: the object goes, and with it all that podferry knows of.
      if (/kubectl patch migration/.test(words)) return undefined;
      if (!/kubectl delete migration/.test(words)) return `I3: stalled with all nodes back, and nothing that people could do: ${words}`;
      const told = { ...deleteMigration(world, open), excused: true };
      if (told.migs[open]?.del !== 2) return `I3: told to delete a Migration that is deleted already: ${words}`;
      labels.push('operator: kubectl delete migration');
      const third = this.#run(told, labels, seen);
      if (!('world' in third)) return third.problem;
      world = third.world;
      if (!isOver(world, open))
        return `I3: the Migration was deleted as told, and it still is ${statusAt(world.migs[open]?.status ?? 0).phase}`;
    }
    return endingProblem(world);
  }

  /** A world at rest: its end, or it says what people can do. */
  #waits(world: World, stalled: boolean): string | undefined {
    const open = world.migs.findIndex((_mig, m) => !isOver(world, m));
    if (open < 0 || stalled) return undefined;
    const status = world.migs[open]?.status ?? 0;
    return `I3: waits for ever in ${statusAt(status).phase}, and not Stalled: ${wordsOf(status)}`;
  }

  /** Until nothing but time moves it, and time does not either. A circle counts as rest; it is stalled when it says so anywhere. */
  #run(start: World, labels: string[], seen: number[]): { world: World; stalled: boolean } | { problem?: string } {
    const since = new Map<number, number>();
    const stalls: boolean[] = [];
    const timers = new Set<number>();
    let world = start;
    for (let count = 0; count < limit; count++) {
      const key = hash(JSON.stringify(world));
      if (this.#good.has(key)) return {};
      seen.push(key);
      const circle = since.has(key);
      since.set(key, count);
      stalls.push(world.migs.some(({ status }) => isStalled(status)));
      const next = (circle ? undefined : this.#next(world)) ?? this.#timer(world);
      const isTimer = circle || !this.#next(world);
      if (!next || (isTimer && timers.has(key))) {
        return { world, stalled: stalls.at(-1) === true || (timers.has(key) && stalls.some(Boolean)) };
      }
      if (isTimer) timers.add(key);
      labels.push(next.label);
      const broken = violation(world, next.world);
      if (broken) return { problem: broken };
      world = next.world;
    }
    return { problem: `I3: not at rest after ${limit} steps` };
  }

  #next(world: World): Step | undefined {
    return (
      mendingSteps(world).find(({ label }) => label.startsWith('agent')) ??
      kubeletSteps(world, false)[0] ??
      podGarbageSteps(world)[0] ??
      readinessSteps(world)[0] ??
      targetAgentSteps(world)[0] ??
      sourceAgentSteps(world)[0] ??
      webhookSteps(world)[0] ??
      controllerSteps(this.#options, world)[0] ??
      ownerSteps(world, !this.#options.asIs.has('cost'))[0] ??
      sweepSteps(world)[0] ??
      kubeletSteps(world)[0]
    );
  }

  #timer(world: World): Step | undefined {
    return clockSteps(world)[0] ?? leaseSteps(world)[0];
  }
}

function repair(world: World, labels: string[]): World {
  let next = world;
  for (const node of ['a', 'b'] as const) {
    if (next.nodes[node].power && !next.nodes[node].net) {
      labels.push(`node ${node} is reached again`);
      next = withNode(next, node, { net: true });
    }
  }
  for (;;) {
    const deletion = nodeDeletions(next)[0];
    if (!deletion) return next;
    labels.push(deletion.label);
    next = deletion.world;
  }
}

/** What must be true of a migration that has come to its end. */
function endingProblem(world: World): string | undefined {
  for (const [m, mig] of world.migs.entries()) {
    const phase = statusAt(mig.status).phase;
    if (!world.excused && running(world, m).length !== 1) return `end: ${phase}, and the memory does not run`;
    const source = world.pods.find((pod) => pod.kind === 'source' && pod.m === m);
    if (source && !source.deleting && world.procs.some((process) => process.uid === source.uid && process.st === 'paused'))
      return `end: ${phase}, and pod ${source.uid} stays frozen with nobody to resume it`;
    if (source && !world.owner.gone && world.owner.kind === 'ReplicaSet' && !source.owned)
      return `end: ${phase}, and pod ${source.uid} belongs to nobody`;
    if (world.haunted) continue;
    if (world.pods.some((pod) => pod.kind === 'placeholder' && world.nodes[pod.node].power))
      return `end: ${phase}, and the placeholder is left`;
    if (mig.source && world.nodes.a.power) return `end: ${phase}, and the source's agent still has a record`;
    for (const node of ['a', 'b'] as const) {
      const record = mig.targets[node];
      if (record && record.st !== 'Committed' && world.nodes[node].power)
        return `end: ${phase}, and the agent on node ${node} still has a record (${record.st})`;
    }
  }
  return undefined;
}
