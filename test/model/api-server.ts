import { staysLate } from './clock.ts';
import { running } from './copies.ts';
import { intentAt, intentText } from './planning.ts';
import { isStalled, statusAt, statusText } from './statuses.ts';
import {
  type MigrationState,
  migrationOf,
  type PodState,
  podNamed,
  removePod,
  type Work,
  type World,
  withMigration,
  withPod,
} from './world.ts';

/** What the API server does with requests: preconditions, conflicts, names given once. */

/** Everybody's copy of the Migration is old now, except that of whoever changed it. */
function stale(mig: MigrationState): Pick<MigrationState, 'work' | 'ghost' | 'look'> {
  const old = (work: Work | null) => (work?.fresh ? { ...work, fresh: false } : work);
  return { work: old(mig.work), ghost: old(mig.ghost), look: mig.look && { ...mig.look, fresh: false } };
}

export function writeStatus(world: World, m: number, status: number): World {
  const mig = migrationOf(world, m);
  const phase = statusAt(status).phase;
  const newlyStalled = isStalled(status) && !isStalled(mig.status);
  // A target that ends between the look at it and the commit has ended as one does after the commit: by its own fate.
  const ended =
    phase === 'CleaningUp' &&
    !mig.committed &&
    !running(world, m).some((uid) => world.pods.some((pod) => pod.uid === uid && !pod.deleting));
  return withMigration(ended ? { ...world, excused: true } : world, m, {
    ...stale(mig),
    status,
    late: mig.late && staysLate(mig.status, status),
    del: mig.del === 2 && newlyStalled ? 1 : mig.del,
    committed: mig.committed || phase === 'CleaningUp',
  });
}

export function setFinalizer(world: World, m: number, finalizer: boolean): World {
  const mig = migrationOf(world, m);
  return withMigration(world, m, { ...stale(mig), finalizer, gone: !finalizer && mig.del > 0 });
}

export function deleteMigration(world: World, m: number): World {
  const mig = migrationOf(world, m);
  if (mig.del || mig.gone) return world;
  return withMigration(world, m, { ...stale(mig), del: isStalled(mig.status) ? 2 : 1, gone: !mig.finalizer });
}

/** A pod that is forced goes at once, whatever its kubelet does; one whose node has not started it needs no kubelet either. */
export function deletePod(world: World, uid: string, force: boolean): World {
  return force ? removePod(world, uid) : withPod(world, uid, { deleting: true });
}

/** Undefined: the name is taken. */
export function freePodName(world: World, name: string): boolean {
  return podNamed(world, name) === undefined;
}

/** The smallest uid with this prefix that nothing in the world speaks of any more. */
export function freshUid(world: World, prefix: string): string {
  const texts = world.migs.flatMap(({ status, work, ghost }) => [
    statusText(status),
    ...[work, ghost].flatMap((one) => (one ? [intentText(one.plan), statusText(intentAt(one.plan).status ?? status)] : [])),
  ]);
  const looks = world.migs.flatMap(({ look }) => look?.pods ?? []);
  const carried = world.calls.flatMap(({ pod }): PodState[] => (pod ? [pod] : []));
  for (let number = 1; ; number++) {
    const uid = `${prefix}${number}`;
    const used =
      [...world.pods, ...world.procs, ...looks, ...carried].some((one) => one.uid === uid || one.name === uid) ||
      world.migs.some(
        ({ targets, ran }) =>
          ran === uid ||
          targets.a?.started === uid ||
          targets.b?.started === uid ||
          targets.a?.servedTo === uid ||
          targets.b?.servedTo === uid,
      ) ||
      texts.some((text) => text.includes(`"${uid}"`));
    if (!used) return uid;
  }
}

/** The smallest repository token of a node that nothing in the world speaks of any more. */
export function freshToken(world: World, node: string): string {
  const pods = [...world.pods, ...world.calls.flatMap(({ pod }): PodState[] => (pod ? [pod] : []))];
  for (let number = 1; ; number++) {
    const token = `${node}${number}-token`;
    const used =
      pods.some((pod) => pod.token === token) ||
      world.procs.some(({ during }) => during === token) ||
      world.migs.some(
        ({ status, work, ghost, source, targets }) =>
          source?.token === token ||
          source?.returning === token ||
          targets.a?.token === token ||
          targets.b?.token === token ||
          statusText(status).includes(token) ||
          [work, ghost].some(
            (one) => one && (intentText(one.plan).includes(token) || statusText(intentAt(one.plan).status ?? status).includes(token)),
          ),
      );
    if (!used) return token;
  }
}
