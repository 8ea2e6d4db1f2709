import { deletePod } from './api-server.ts';
import { providedName, sourceName } from './objects.ts';
import { statusAt } from './statuses.ts';
import { addCall } from './webhook.ts';
import { type PodState, podNamed, processOf, type Step, type World, withPod } from './world.ts';

/** Whoever wants the pods: a ReplicaSet, a StatefulSet, or a person who creates the target. */

function callInFlight(world: World, by: string): boolean {
  return world.calls.some((call) => call.by === by);
}

function wants(world: World, name: string, id = 'owner'): Step[] {
  return [{ label: `owner: creates a pod${name ? ` ${name}` : ''}`, world: addCall(world, { id, by: 'owner', m: -1, name, pod: null }) }];
}

/** Which of two surplus pods a ReplicaSet deletes first (kubernetes pkg/controller, ActivePodsWithRanks). */
function rank(pod: PodState, costs: boolean): number {
  if (costs && pod.kind === 'fresh') return -1;
  if (pod.st !== 'running') return 0;
  if (pod.ready === 0) return 1;
  // Of two that are Ready the one that became so later.
  return pod.kind === 'fresh' || pod.ready === 1 ? 2 : 3;
}

function replicaSet(world: World, costs: boolean): Step[] {
  const steps: Step[] = [];
  for (const pod of world.pods) {
    if (pod.deleting) continue;
    if (pod.owned && pod.released) steps.push({ label: `owner: lets ${pod.uid} go`, world: withPod(world, pod.uid, { owned: false }) });
    if (!pod.owned && !pod.released && pod.kind === 'source') {
      steps.push({ label: `owner: adopts ${pod.uid} again`, world: withPod(world, pod.uid, { owned: true }) });
    }
  }
  if (steps.length) return steps;
  const mine = world.pods.filter((pod) => pod.owned && !pod.deleting);
  if (mine.length < world.migs.length && !world.owner.refused && !callInFlight(world, 'owner')) return wants(world, '');
  if (mine.length > world.migs.length) {
    const least = Math.min(...mine.map((pod) => rank(pod, costs)));
    return mine
      .filter((pod) => rank(pod, costs) === least)
      .map((pod) => ({ label: `owner: deletes ${pod.uid}, one too many`, world: withPod(world, pod.uid, { deleting: true }) }));
  }
  return [];
}

function statefulSet(world: World): Step[] {
  if (world.owner.refused || callInFlight(world, 'owner')) return [];
  const name = sourceName('StatefulSet', 0);
  return podNamed(world, name) ? [] : wants(world, name);
}

/** A person creates the target, again and again until it is there or the migration has failed. */
function person(world: World): Step[] {
  if (callInFlight(world, 'user') || podNamed(world, providedName) || world.owner.refused) return [];
  const { phase, target } = statusAt(world.migs[0]?.status ?? 0);
  if (phase !== 'Switching' || target?.uid) return [];
  return [{ label: 'user: creates the target', world: addCall(world, { id: 'user', by: 'user', m: 0, name: providedName, pod: null }) }];
}

/** @param costs a source that is given back is worth more to its owner than a pod without its memory */
export function ownerSteps(world: World, costs: boolean): Step[] {
  const { kind, gone } = world.owner;
  if (gone) {
    return world.pods
      .filter((pod) => pod.owned && !pod.deleting)
      .map((pod) => ({
        label: `garbage collector: deletes ${pod.uid}, its owner is gone`,
        world: withPod(world, pod.uid, { deleting: true }),
      }));
  }
  if (kind === 'ReplicaSet') return replicaSet(world, costs);
  if (kind === 'StatefulSet') return statefulSet(world);
  return kind === 'user' ? person(world) : [];
}

/** The owner's controller gives up waiting for an answer and asks once more, while the first request still is under way. */
export function impatience(world: World): Step[] {
  const { kind, gone, refused } = world.owner;
  if (gone || refused) return [];
  const waiting = world.calls.find(({ by, id, pod }) => by === 'owner' && id === 'owner' && pod);
  if (!waiting || world.calls.some(({ id }) => id === 'owner/old')) return [];
  const calls = world.calls.map((call) => (call.id === 'owner' ? { ...call, id: 'owner/old' } : call));
  return [{ label: `fault: the ${kind} no longer waits for its request, which is still under way`, world: { ...world, calls } }];
}

/** What people do to the objects of a migration. */
export function peopleSteps(world: World): Step[] {
  const steps: Step[] = [];
  for (const pod of world.pods) {
    if (pod.deleting || (pod.kind !== 'source' && pod.kind !== 'target')) continue;
    // What somebody wants gone need not come back, unless it is a copy that the migration still can undo.
    const frozen = world.pods.some(({ kind, m, deleting }) => kind === 'source' && m === pod.m && !deleting);
    const archived = world.migs[pod.m]?.source?.st === 'Held';
    const undone = pod.kind === 'target' && !world.migs[pod.m]?.committed && (frozen || archived);
    const next = deletePod(world, pod.uid, false);
    steps.push({ label: `fault: somebody deletes pod ${pod.uid}`, world: undone ? next : { ...next, excused: true } });
  }
  if (world.owner.kind !== 'none' && world.owner.kind !== 'user' && !world.owner.gone) {
    steps.push({ label: 'fault: somebody deletes the owner', world: { ...world, owner: { ...world.owner, gone: true }, excused: true } });
  }
  return steps;
}

/** Somebody deletes the target with `--force`: the object goes while its processes run on for a while. */
export function forcedDeletions(world: World): Step[] {
  return world.pods.flatMap((pod) =>
    pod.kind === 'target' && processOf(world, pod.uid)
      ? [
          {
            label: `fault: somebody deletes pod ${pod.uid} with --force`,
            world: { ...deletePod(world, pod.uid, true), excused: world.excused || (world.migs[pod.m]?.committed ?? false) },
          },
        ]
      : [],
  );
}
