import { clockSteps } from './clock.ts';
import { controllerSteps, type Weakness } from './controller.ts';
import { isOver } from './copies.ts';
import { type Fault, faultSteps, mendingSteps, nodeDeletions } from './faults.ts';
import { hash } from './intern.ts';
import { violation } from './invariants.ts';
import { kubeletSteps, podGarbageSteps, readinessSteps } from './kubelet.ts';
import { ownerSteps } from './owner.ts';
import type { Planner } from './planning.ts';
import { Settler } from './settle.ts';
import { leaseSteps, sourceAgentSteps } from './source-agent.ts';
import { sweepSteps } from './sweeper.ts';
import { targetAgentSteps } from './target-agent.ts';
import { webhookSteps } from './webhook.ts';
import type { Step, World } from './world.ts';

export interface Configuration {
  start: World;
  planner: Planner;
  faults: readonly Fault[];
  looksApart?: boolean;
  ownerIsFaster?: boolean;
  asIs?: readonly Weakness[];
  /** Whether every state is also let come to its end (I3). */
  settles?: boolean;
  /** Gives up after so many states. */
  limit?: number;
}

export interface Found {
  states: number;
  depth: number;
  seconds: number;
  /** The limit was reached before all was seen. */
  cut: boolean;
  /** The shortest way to what must not be, a step a line; absent when all is well. */
  counterexample?: { problem: string; steps: string[] };
}

/** All is over, and nothing that began before is still under way: from here only new faults could change anything. */
function isQuiet(world: World): boolean {
  return (
    world.calls.length === 0 &&
    world.migs.every(
      (mig, m) => isOver(world, m) && !mig.finalizer && !mig.work && !mig.ghost && !mig.look && mig.source?.st !== 'Resuming',
    ) &&
    world.procs.every(({ st }) => st !== 'pulled')
  );
}

/** Deadlines and leases, as many as may still run out. */
function timerSteps(world: World): Step[] {
  if (world.timers === 0) return [];
  return [...leaseSteps(world), ...clockSteps(world)].map(({ label, world: next }) => ({
    label,
    world: { ...next, timers: world.timers - 1 },
  }));
}

/** Breadth first over everything that anybody can do in any order; the first violation found is one of the shortest. */
export function search({
  start,
  planner,
  faults,
  looksApart = false,
  ownerIsFaster = false,
  asIs = [],
  settles = true,
  limit = 5_000_000,
}: Configuration): Found {
  const began = performance.now();
  const options = { planner, looksApart, ownerIsFaster, asIs: new Set(asIs) };
  const kinds = new Set(faults);
  const settler = new Settler(options);
  const seen = new Set<number>([hash(JSON.stringify(start))]);
  const parents: number[] = [-1];
  const labels: string[] = ['start'];
  let frontier: { world: World; id: number }[] = [{ world: start, id: 0 }];
  let depth = 0;

  const way = (id: number): string[] => {
    const steps: string[] = [];
    for (let at = id; at > 0; at = parents[at] as number) steps.unshift(labels[at] as string);
    return steps;
  };
  const result = (cut: boolean, counterexample?: Found['counterexample']): Found => ({
    states: seen.size,
    depth,
    seconds: (performance.now() - began) / 1000,
    cut,
    ...(counterexample ? { counterexample } : {}),
  });

  while (frontier.length > 0) {
    const next: typeof frontier = [];
    for (const { world, id } of frontier) {
      if (settles) {
        const { problem, labels: rest } = settler.settle(world);
        if (problem) return result(false, { problem, steps: [...way(id), '-- from here without faults --', ...rest] });
      }
      for (const step of isQuiet(world) ? [] : steps(world)) {
        const broken = violation(world, step.world);
        if (broken) return result(false, { problem: broken, steps: [...way(id), step.label] });
        const key = hash(JSON.stringify(step.world));
        if (seen.has(key)) continue;
        seen.add(key);
        parents.push(id);
        labels.push(step.label);
        next.push({ world: step.world, id: parents.length - 1 });
      }
      if (seen.size > limit) return result(true);
    }
    frontier = next;
    if (frontier.length) depth++;
  }
  return result(false);

  function steps(world: World): Step[] {
    return [
      ...controllerSteps(options, world),
      ...webhookSteps(world),
      ...ownerSteps(world, !options.asIs.has('cost')),
      ...podGarbageSteps(world),
      ...kubeletSteps(world),
      ...readinessSteps(world),
      ...targetAgentSteps(world),
      ...sourceAgentSteps(world),
      ...timerSteps(world),
      ...sweepSteps(world),
      ...mendingSteps(world),
      ...nodeDeletions(world),
      ...faultSteps(options, kinds, world),
    ];
  }
}
