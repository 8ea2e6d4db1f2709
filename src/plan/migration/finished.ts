import { finalizer, internalAnnotations } from '../../api/names.ts';
import { isClaimed } from './accept.ts';
import type { Observation, Plan } from './observation.ts';
import { statusOf } from './progress.ts';

/** Succeeded or Failed: nothing is held any more; the request on the pod is taken off, the object goes when its time is over. */
export function finished(observation: Observation): Plan {
  const { migration, sourcePod, now } = observation;
  const status = statusOf(observation);
  const actions: Plan['actions'] = [];
  if (sourcePod && sourcePod.metadata.uid === (status.source?.uid ?? sourcePod.metadata.uid)) {
    const { name, uid = '' } = sourcePod.metadata;
    if (requestedBy(observation)) actions.push({ type: 'clearRequest', pod: name, uid });
    if (isClaimed(observation, sourcePod)) actions.push({ type: 'unclaimPod', name, uid });
  }
  if (migration.metadata.finalizers?.includes(finalizer)) actions.push({ type: 'removeFinalizer' });
  if (actions.length || migration.metadata.deletionTimestamp) return { actions };
  const ttl = migration.spec.ttlSecondsAfterFinished;
  if (ttl === undefined || !status.steps?.finished) return { actions };
  const left = Date.parse(status.steps.finished) + ttl * 1000 - now;
  return left <= 0 ? { actions: [{ type: 'deleteMigration' }] } : { actions, requeueAfter: left };
}

/** Whether the pod still bears the request that made this migration. */
function requestedBy({ migration, sourcePod }: Observation): boolean {
  const request = sourcePod?.metadata.annotations?.[internalAnnotations.request];
  return request !== undefined && migration.metadata.annotations?.[internalAnnotations.request] === request;
}
