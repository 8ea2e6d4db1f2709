import type { Migration } from '../../src/api/migration.ts';
import { internalAnnotations } from '../../src/api/names.ts';
import type { Pod } from '../../src/api/pod.ts';
import { isAwaitedBy, refusesReplacement, toTarget } from '../../src/plan/pods/target.ts';
import { freePodName, freshUid } from './api-server.ts';
import { migrationName, migrationObject, podDraft, tokenOf } from './objects.ts';
import { statusAt } from './statuses.ts';
import { addPod, type CreateCall, migrationOf, type Node, type PodState, podNamed, type Step, type World } from './world.ts';

/** Pods on their way into the API: the webhook reads the Migration at one moment, the pod is there at a later one. */

export function addCall(world: World, call: CreateCall): World {
  return { ...world, calls: [...world.calls, call].sort((left, right) => (left.id < right.id ? -1 : 1)) };
}

function dropCall(world: World, id: string): World {
  return { ...world, calls: world.calls.filter((call) => call.id !== id) };
}

function answer(world: World, call: CreateCall, pod: PodState): World {
  return { ...world, calls: world.calls.map((one) => (one.id === call.id ? { ...one, pod } : one)) };
}

/** A pod of which nothing is known but that it was asked for. */
export const plain: Omit<PodState, 'uid' | 'name' | 'node' | 'owned'> = {
  kind: 'fresh',
  m: -1,
  released: false,
  deleting: false,
  claim: -1,
  fenced: false,
  st: 'pending',
  token: '',
  restarted: false,
  ready: 0,
};

/** The pod as its owner or a person wants it, on node a (which one makes no difference); what stands for its uid is completed when it is created. */
function freshPod(call: CreateCall): PodState {
  return { ...plain, uid: 'f', name: call.name, node: 'a', owned: call.by === 'owner' };
}

function targetPod(m: number, pod: Pod): PodState {
  const image = pod.spec.containers[0]?.image ?? '';
  const node = (pod.spec.nodeName ?? 'b') as Node;
  const owned = pod.metadata.ownerReferences !== undefined;
  return { ...plain, kind: 'target', m, uid: 't', name: pod.metadata.name, node, owned, token: tokenOf(image) };
}

/** What the webhook says to a call about these Migrations, in this order (src/webhook/pods.ts, provided.ts). */
function review(world: World, call: CreateCall, order: readonly number[]): 'refuse' | 'pass' | PodState {
  const { kind } = world.owner;
  const draft = podDraft(kind, call.name);
  for (const m of order) {
    const mig = migrationOf(world, m);
    if (mig.gone) continue;
    const migration: Migration = migrationObject(kind, m, mig);
    const pod: Pod =
      call.by === 'controller'
        ? { ...draft, metadata: { ...draft.metadata, annotations: { [internalAnnotations.migration]: migrationName(m) } } }
        : draft;
    if (call.by !== 'user' && refusesReplacement(migration, pod)) return 'refuse';
    if (!isAwaitedBy(migration, pod)) continue;
    if (!call.name && podNamed(world, migration.status?.target?.name)) continue;
    return targetPod(m, toTarget(migration, pod));
  }
  // The controller's own pods name their migration, and a person's wait for theirs; an owner's are created as ever.
  return call.by === 'owner' ? 'pass' : 'refuse';
}

/** Migrations that concern a call, in the orders in which they may be asked. */
function orders(world: World, call: CreateCall): number[][] {
  if (call.by !== 'owner') return [[call.m]];
  const active = world.migs.flatMap(({ status, gone }, m) => {
    const { phase, source } = statusAt(status);
    return !gone && source?.owner && phase !== 'Succeeded' && phase !== 'Failed' ? [m] : [];
  });
  return active.length > 1 ? [active, [...active].reverse()] : [active];
}

function reviewSteps(world: World, call: CreateCall): Step[] {
  return orders(world, call).flatMap((order) => {
    const verdict = review(world, call, order);
    if (verdict === 'refuse') return [{ label: `webhook: refuses the pod of the ${call.by}`, world: dropCall(world, call.id) }];
    if (verdict === 'pass') {
      return [{ label: `webhook: lets the ${call.by}'s pod pass as it is`, world: answer(world, call, freshPod(call)) }];
    }
    const label = `webhook: makes the ${call.by}'s pod the target ${verdict.name} of migration ${verdict.m} on node ${verdict.node}`;
    return [{ label, world: answer(world, call, verdict) }];
  });
}

function landing(world: World, call: CreateCall, pod: PodState): Step {
  const next = dropCall(world, call.id);
  if (!freePodName(world, pod.name)) return { label: `api server: name ${pod.name} is taken`, world: next };
  const uid = freshUid(world, pod.uid);
  const name = pod.name || uid;
  return { label: `api server: pod ${uid} (${name}) on node ${pod.node} is created`, world: addPod(next, { ...pod, uid, name }) };
}

export function webhookSteps(world: World): Step[] {
  return world.calls.flatMap((call) => (call.pod ? [landing(world, call, call.pod)] : reviewSteps(world, call)));
}

/** The webhook does not answer, and its configuration lets owners' pods pass then (failurePolicy Ignore). */
export function webhookFailures(world: World): Step[] {
  return world.calls.flatMap((call) =>
    call.by === 'owner' && !call.pod
      ? [{ label: "fault: the webhook is down, the owner's pod passes as it is", world: answer(world, call, freshPod(call)) }]
      : [],
  );
}
