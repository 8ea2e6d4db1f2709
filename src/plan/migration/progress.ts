import type { Condition, Migration, MigrationStatus, Phase, Step } from '../../api/migration.ts';
import type { Pod } from '../../api/pod.ts';
import { type Reason, reasons } from '../../api/reasons.ts';
import type { Action, EventNote, Observation, Plan } from './observation.ts';

/** Small words in which the phases are written: go on, wait, fail. */

export function microTime(now: number): string {
  return new Date(now).toISOString().replace(/Z$/, '000Z');
}

export function statusOf(observation: Observation): MigrationStatus {
  return observation.migration.status ?? {};
}

/** Go to another phase; written down before anything of that phase is done. */
export function advance(
  observation: Observation,
  phase: Phase,
  change: Partial<MigrationStatus>,
  note: { step?: Step; reason: Reason; message: string },
  extra: Partial<Plan> = {},
): Plan {
  const before = statusOf(observation);
  const status: MigrationStatus = { ...before, ...change, phase };
  if (note.step) status.steps = { ...before.steps, [note.step]: microTime(observation.now), ...change.steps };
  return {
    ...extra,
    actions: extra.actions ?? [],
    status: withConditions(observation, status, note.reason, note.message),
    events: [{ type: 'Normal', reason: note.reason, message: note.message }, ...(extra.events ?? [])],
  };
}

/** Go to another phase, and do what that begins with in the same go: the pod stands still, and another look would find the same. */
export function advanceInto(
  begin: (observation: Observation) => Plan,
  ...[observation, phase, change, note]: [Observation, Phase, Partial<MigrationStatus>, { step?: Step; reason: Reason; message: string }]
): Plan {
  const plan = advance(observation, phase, change, note);
  const { migration } = observation;
  const begun = begin({ ...observation, migration: { ...migration, ...(plan.status && { status: plan.status }) } });
  if (begun.status?.phase !== phase) return plan;
  return { ...plan, actions: begun.actions, ...(begun.meanwhile ? { meanwhile: begun.meanwhile } : {}) };
}

/** All that a plan does, while its status is written and after. */
export function actionsOf({ meanwhile = [], actions }: Plan): Action[] {
  return [...meanwhile, ...actions.flat()];
}

/** Stay in the phase and say why; `status` only changes when the words do. */
export function wait(observation: Observation, reason: Reason, message: string, plan: Partial<Plan> & { stalled?: boolean } = {}): Plan {
  const { stalled, ...rest } = plan;
  return {
    ...rest,
    actions: rest.actions ?? [],
    status: withConditions(observation, { ...statusOf(observation), ...rest.status }, reason, message, stalled),
  };
}

/** Nothing was touched yet: say no, and be done. */
export function refuse(observation: Observation, reason: Reason, message: string): Plan {
  return end(observation, 'Failed', { failure: { reason, message } }, { type: 'Warning', reason, message });
}

/** Something failed before the commit: bring the source back. */
export function rollBack(observation: Observation, reason: Reason, message: string): Plan {
  const before = statusOf(observation);
  // What failed first is what people have to know; a return that fails too is told beside it.
  const why: Partial<MigrationStatus> = before.failure ? { returnFailure: message } : { failure: { reason, message } };
  const status: MigrationStatus = { ...before, ...why, phase: 'RollingBack' };
  return {
    actions: [],
    status: withConditions(observation, status, reasons.rollingBack, `rolling back: ${message}`),
    events: [{ type: 'Warning', reason, message }],
  };
}

/** The end of a migration, good or bad. */
export function end(
  observation: Observation,
  phase: 'Succeeded' | 'Failed',
  change: Partial<MigrationStatus>,
  event: EventNote & { reason: Reason },
): Plan {
  const before = statusOf(observation);
  const status: MigrationStatus = {
    ...before,
    ...change,
    phase,
    steps: { ...before.steps, finished: microTime(observation.now) },
  };
  return {
    actions: [],
    status: withConditions(observation, status, event.reason, event.message),
    events: [event, ...podsToldOf(observation, event, phase)],
  };
}

/** Who looks at the pod (`kubectl describe pod`) has to see it too. */
function podsToldOf(observation: Observation, { type, message }: EventNote, phase: 'Succeeded' | 'Failed'): EventNote[] {
  const { sourcePod, targetPod } = observation;
  const reason = phase === 'Succeeded' ? reasons.migrated : reasons.migrationFailed;
  const pod = phase === 'Succeeded' ? targetPod : (sourcePod ?? targetPod);
  return pod ? [{ type, reason, message, pod: identityOf(pod) }] : [];
}

export function identityOf(pod: Pod): { name: string; uid: string } {
  return { name: pod.metadata.name, uid: pod.metadata.uid ?? '' };
}

/** Milliseconds left of a time that began with a step; negative when it has run out. */
export function timeLeft(observation: Observation, since: Step, seconds: number): number {
  const start = statusOf(observation).steps?.[since];
  return start ? Date.parse(start) + seconds * 1000 - observation.now : seconds * 1000;
}

/**
 * Conditions as Kubernetes' tools read them (kstatus): `Ready` always; `Reconciling` while it is under way and
 * `Stalled` when it has failed or waits for somebody, each present only when True.
 */
function withConditions(
  observation: Observation,
  status: MigrationStatus,
  reason: Reason,
  message: string,
  stalled = false,
): MigrationStatus {
  const { migration, now } = observation;
  const finished = status.phase === 'Succeeded' || status.phase === 'Failed';
  const wanted: [string, boolean, boolean][] = [
    ['Ready', status.phase === 'Succeeded', true],
    ['Reconciling', !finished, false],
    ['Stalled', stalled || status.phase === 'Failed', false],
  ];
  const conditions: Condition[] = [];
  for (const [type, holds, always] of wanted) {
    if (!holds && !always) continue;
    conditions.push(condition(migration, type, holds, reason, message, now));
  }
  return {
    ...status,
    conditions,
    ...(migration.metadata.generation === undefined ? {} : { observedGeneration: migration.metadata.generation }),
  };
}

function condition(migration: Migration, type: string, holds: boolean, reason: Reason, message: string, now: number): Condition {
  const status = holds ? 'True' : 'False';
  const before = migration.status?.conditions?.find((candidate) => candidate.type === type);
  return {
    type,
    status,
    reason,
    // metav1.Condition allows 32768 bytes; a message is for people, and etcd is no place for logs.
    message: message.slice(0, 4096),
    lastTransitionTime: before?.status === status ? before.lastTransitionTime : new Date(now).toISOString().replace(/\.\d+Z$/, 'Z'),
    ...(migration.metadata.generation === undefined ? {} : { observedGeneration: migration.metadata.generation }),
  };
}
