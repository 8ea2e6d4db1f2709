import { hasBegun, isFinished, type Migration } from '../../api/migration.ts';
import { apiVersion, internalAnnotations, labels, policyAnnotations } from '../../api/names.ts';
import { isActive, type Pod } from '../../api/pod.ts';
import { type MigrationPolicy, policyDefaults } from '../../api/policy.ts';
import { shortHash, withSuffix } from '../hash.ts';
import { policyOf } from '../migration/accept.ts';
import { refusePod, refusePodNow } from '../pods/support.ts';
import { inWords } from './progress-words.ts';

/** What is known when somebody asks to evict a pod. */
export interface EvictionRequest {
  /** Milliseconds since the epoch. */
  now: number;
  user: string;
  dryRun: boolean;
  pod: Pod;
  /** The one that applies (`policyFor`), if any. */
  policy: MigrationPolicy | undefined;
  /** Whether the node on which the pod is now is cordoned. */
  cordoned?: boolean;
  /** Of the pod's namespace: those that name the pod, or made it. */
  migrations: readonly Migration[];
}

/**
 * - `pass`: evicted as ever; `lost` says why its memory goes although a policy covers it
 * - `wait`: refused for now (429), `kubectl drain` shows the message and asks again; `create` is to be made first
 * - `moved`: it is here because it was moved here (404): who asks again means the pod that was on the other node
 */
export type EvictionVerdict =
  | { type: 'pass'; lost?: string }
  | { type: 'wait'; message: string; create?: Migration }
  | { type: 'moved'; message: string };

/**
 * How long after the move an eviction by the same user still means the pod on the old node. kubectl drain asks every five
 * seconds for the name alone (kubectl pkg/drain, evictPods), and a StatefulSet's pod keeps its name. Unless the new node is
 * cordoned: then that is being drained. Milliseconds.
 */
const stillMeant = 30_000;

/**
 * What can be said without a look at the pod: one whose Migration waits for its turn waits too. Most of a drain's evictions
 * are such, and each look would be a request to the API server. What may have happened to the pod meanwhile wakes its
 * Migration up, which then ends; the next eviction finds that.
 */
export function stillWaits({
  now,
  pod,
  policies,
  migrations,
}: {
  now: number;
  /** Its name. */
  pod: string;
  policies: readonly MigrationPolicy[];
  /** Of the pod's namespace: those that name the pod, or made it. */
  migrations: readonly Migration[];
}): string | undefined {
  const waiting = migrations.find((migration) => migration.spec.pod === pod && policyOf(migration) !== undefined && !hasBegun(migration));
  if (!waiting || migrations.some((migration) => policies.some((policy) => isOverdue(policy, [migration], now)))) return undefined;
  return `podferry: ${inWords(waiting)}`;
}

/** Whether a pod that is to be evicted goes, waits for its migration, or was moved already. */
export function decideEviction(request: EvictionRequest): EvictionVerdict {
  if (request.dryRun) return { type: 'pass' };
  const { pod } = request;
  const outcome = outcomeOfEviction(request);
  switch (outcome.type) {
    case 'asEver':
      return { type: 'pass' };
    case 'moving':
      return { type: 'wait', message: `podferry: ${inWords(outcome.by)}` };
    case 'arrived':
      return {
        type: 'moved',
        message: `podferry: pod ${pod.metadata.name} was moved from node ${outcome.by.status?.source?.nodeName} to node ${pod.spec.nodeName}`,
      };
    case 'migrate':
      return { type: 'wait', create: outcome.create, message: `podferry: ${inWords(outcome.create)}` };
    case 'cannotMove':
      return giveUp(outcome.policy, pod, outcome.why);
  }
}

/**
 * What becomes of a pod when it is to leave its node.
 *
 * - `asEver`: podferry has nothing to do with it
 * - `moving`: on its way already · `arrived`: it has just come from the node that is meant
 * - `migrate`: this Migration is made
 * - `cannotMove`: a policy covers it, and its state cannot be taken along
 */
export type Outcome =
  | { type: 'asEver' }
  | { type: 'moving' | 'arrived'; by: Migration }
  | { type: 'migrate'; policy: MigrationPolicy; create: Migration }
  | { type: 'cannotMove'; policy: MigrationPolicy; why: string };

/** What becomes of a pod that is evicted, and not in a dry run. */
export function outcomeOfEviction(request: Omit<EvictionRequest, 'dryRun'>): Outcome {
  const { pod, policy, migrations, now, user } = request;
  const { phase } = pod.status ?? {};
  if (!isActive(pod)) return { type: 'asEver' };
  const active = migrations.find((migration) => !isFinished(migration) && concerns(migration, pod));
  if (active && policy && !hasBegun(active) && isOverdue(policy, [...triesOf(pod, migrations), active], now)) {
    const why = `it could not be moved within ${deadlineOf(policy)} s (now: ${inWords(active)})`;
    return { type: 'cannotMove', policy, why };
  }
  if (active) return { type: 'moving', by: active };
  const arrived = migrations.find(({ metadata, spec, status }) => {
    const { finished } = status?.steps ?? {};
    return (
      !request.cordoned &&
      status?.phase === 'Succeeded' &&
      spec.pod === pod.metadata.name &&
      status.target?.uid === pod.metadata.uid &&
      metadata.annotations?.[policyAnnotations.requestedBy] === user &&
      finished !== undefined &&
      now - Date.parse(finished) < stillMeant
    );
  });
  if (arrived) return { type: 'arrived', by: arrived };
  if (!policy || phase !== 'Running') return { type: 'asEver' };
  return movedOrNot(request, policy);
}

function movedOrNot({ pod, migrations, now, user }: Omit<EvictionRequest, 'dryRun'>, policy: MigrationPolicy): Outcome {
  const cannot = (why: string): Outcome => ({ type: 'cannotMove', policy, why });
  const refusal = refusePod(pod) ?? refusePodNow(pod);
  if (refusal) return cannot(`it cannot be moved: ${refusal.message}`);
  const tried = triesOf(pod, migrations);
  const last = tried.at(-1);
  const { retries = policyDefaults.retries } = policy.spec;
  const why = last?.status?.failure?.message ?? 'the reason is not known';
  if (tried.length > retries) return cannot(`it could not be moved in ${tried.length} tries (the last: ${why})`);
  if (isOverdue(policy, tried, now)) return cannot(`it could not be moved within ${deadlineOf(policy)} s (the last try: ${why})`);
  return { type: 'migrate', policy, create: policyMigration(policy, pod, { trigger: 'eviction', requestedBy: user, tried }) };
}

function deadlineOf({ spec }: MigrationPolicy): number {
  return spec.deadlineSeconds ?? policyDefaults.deadlineSeconds;
}

/** Whether the deadline of the first eviction is over; what the node has asked for before does not count. */
function isOverdue(policy: MigrationPolicy, made: readonly Migration[], now: number): boolean {
  return made.some(
    ({ metadata: { annotations, creationTimestamp = '' } }) =>
      annotations?.[policyAnnotations.trigger] === 'eviction' && now > Date.parse(creationTimestamp) + deadlineOf(policy) * 1000,
  );
}

function giveUp(policy: MigrationPolicy, pod: Pod, why: string): EvictionVerdict {
  if (policy.spec.onFailure === 'Evict') return { type: 'pass', lost: why };
  return {
    type: 'wait',
    message:
      `podferry: policy ${policy.metadata.name} keeps pod ${pod.metadata.name}, since ${why}; to let its memory go: ` +
      `kubectl delete pod -n ${pod.metadata.namespace} ${pod.metadata.name}, or set onFailure: Evict`,
  };
}

/**
 * Migrations that a policy made of just this pod and that have failed, the oldest first. A pod that came back to its
 * origin from the archive has another uid, and is the same.
 */
export function triesOf(pod: Pod, migrations: readonly Migration[]): Migration[] {
  const failed = migrations
    .filter((migration) => policyOf(migration) !== undefined && migration.status?.phase === 'Failed')
    .sort((left, right) => (left.metadata.creationTimestamp ?? '').localeCompare(right.metadata.creationTimestamp ?? ''));
  const uids = new Set([pod.metadata.uid]);
  for (const { metadata, status } of failed.toReversed()) {
    if (status?.target?.uid && uids.has(status.target.uid)) uids.add(metadata.annotations?.[policyAnnotations.podUid]);
  }
  uids.delete(undefined);
  return failed.filter(({ metadata }) => uids.has(metadata.annotations?.[policyAnnotations.podUid]));
}

/** The Migration that a policy makes of a pod. Its name follows from the pod and the try, so that it is made once however many ask. */
export function policyMigration(
  policy: MigrationPolicy,
  pod: Pod,
  { trigger, requestedBy, tried }: { trigger: string; requestedBy?: string; tried: readonly Migration[] },
): Migration {
  const { spec } = policy;
  const failed = [...new Set(tried.flatMap(({ status }) => status?.failedDestination ?? status?.target?.nodeName ?? []))];
  const destination = {
    ...(spec.destination ? { nodeSelector: spec.destination.nodeSelector } : {}),
    ...(failed.length ? { avoid: failed } : {}),
  };
  return {
    apiVersion,
    kind: 'Migration',
    metadata: {
      namespace: pod.metadata.namespace ?? '',
      name: withSuffix(pod.metadata.name, shortHash(`${pod.metadata.uid}/${tried.length}`, 6)),
      labels: { [labels.policy]: policy.metadata.name, [labels.managedBy]: 'podferry' },
      annotations: {
        [policyAnnotations.trigger]: trigger,
        ...(requestedBy ? { [policyAnnotations.requestedBy]: requestedBy } : {}),
        [policyAnnotations.priority]: String(pod.spec.priority ?? 0),
        [policyAnnotations.podUid]: pod.metadata.uid ?? '',
      },
    },
    spec: {
      pod: pod.metadata.name,
      ...(Object.keys(destination).length ? { destination } : {}),
      ...(spec.transfer ? { transfer: spec.transfer } : {}),
      ...(spec.warmRounds === undefined ? {} : { warmRounds: spec.warmRounds }),
      ...(spec.timeouts ? { timeouts: spec.timeouts } : {}),
      ttlSecondsAfterFinished: 24 * 3600,
    },
  };
}

/** Whether a migration moves this pod (its source, its target, known or only just created), or will once it begins. */
function concerns({ metadata, spec, status }: Migration, pod: Pod): boolean {
  const { uid, annotations } = pod.metadata;
  if (metadata.uid !== undefined && annotations?.[internalAnnotations.migrationUid] === metadata.uid) return true;
  if (status?.source) return status.source.uid === uid || status.target?.uid === uid;
  const meant = metadata.annotations?.[policyAnnotations.podUid];
  return spec.pod === pod.metadata.name && (meant === undefined || meant === uid);
}
