import { isFinished, type Migration } from '../api/migration.ts';
import type { Pod } from '../api/pod.ts';
import type { MigrationPolicy } from '../api/policy.ts';
import { decideEviction, stillWaits } from '../plan/policy/eviction.ts';
import { policyFor } from '../plan/policy/select.ts';
import { later, pass, type UserInfo, type Verdict } from './review.ts';

/** An AdmissionReview's request about an Eviction (policy/v1, subresource `pods/eviction`), the parts in use. */
export interface EvictionReview {
  uid: string;
  namespace: string;
  /** The pod. */
  name: string;
  dryRun: boolean;
  /** Of the delete options (metav1.Preconditions): the very pod that is meant, where the name alone is not enough. */
  preconditions?: { uid?: string; resourceVersion?: string };
  userInfo: UserInfo;
}

/** How evictions are looked at; real in `run.ts`. */
export interface EvictionPorts {
  now(): number;
  /** From caches that may lag. */
  policies(): readonly MigrationPolicy[];
  namespaceLabels(namespace: string): Record<string, string> | undefined;
  /** Migrations of the namespace that name the pod, or made it. */
  migrationsOf(namespace: string, pod: string): readonly Migration[];
  /** Straight from the API server. */
  getPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  /** Straight from the API server. */
  isCordoned(nodeName: string, signal: AbortSignal): Promise<boolean>;
  createMigration(migration: Migration, signal: AbortSignal): Promise<Migration>;
  /** Tells people who look at the pod that it goes without its memory. */
  lost(pod: Pod, message: string): void;
}

/** An AdmissionReview of an Eviction, or why it is none. */
export function parseEviction(body: unknown): { request: EvictionReview } | { uid: string; problem: string } {
  const review = body as { apiVersion?: unknown; kind?: unknown; request?: Record<string, unknown> } | null;
  const { request } = review ?? {};
  const uid = typeof request?.uid === 'string' ? request.uid : '';
  if (review?.kind !== 'AdmissionReview' || review.apiVersion !== 'admission.k8s.io/v1' || !request || !uid)
    return { uid, problem: 'expected an AdmissionReview of admission.k8s.io/v1 with a request' };
  const { kind, name, namespace, userInfo, dryRun, object } = request as Record<string, unknown> & { kind?: { kind?: string } };
  if (kind?.kind !== 'Eviction' || typeof name !== 'string' || typeof namespace !== 'string')
    return { uid, problem: 'the request is not about an Eviction of a pod' };
  const { deleteOptions } = (object ?? {}) as { deleteOptions?: Pick<EvictionReview, 'preconditions'> & { dryRun?: string[] } };
  return {
    request: {
      uid,
      name,
      namespace,
      dryRun: dryRun === true || (deleteOptions?.dryRun?.length ?? 0) > 0,
      ...(deleteOptions?.preconditions ? { preconditions: deleteOptions.preconditions } : {}),
      userInfo: (userInfo ?? {}) as UserInfo,
    },
  };
}

/** What is said to somebody who evicts a pod. Makes a Migration where a policy covers the pod, but not in a dry run. */
export async function reviewEviction(ports: EvictionPorts, request: EvictionReview, signal: AbortSignal): Promise<Verdict> {
  const { namespace, name, dryRun, userInfo } = request;
  const migrations = ports.migrationsOf(namespace, name);
  const waits = dryRun ? undefined : stillWaits({ now: ports.now(), pod: name, policies: ports.policies(), migrations });
  if (waits !== undefined) return later(waits);
  const pod = await ports.getPod(namespace, name, signal);
  // Of a pod that is not the one that is meant the API server itself says so (409).
  if (!pod || !isMeant(pod, request)) return pass;
  const labels = { namespace: ports.namespaceLabels(namespace), labels: pod.metadata.labels };
  const known = {
    now: ports.now(),
    user: userInfo.username ?? '',
    dryRun,
    pod,
    policy: policyFor(ports.policies(), labels, { type: 'eviction' }),
    migrations: ports.migrationsOf(namespace, name),
  };
  let verdict = decideEviction(known);
  // Looked at only where it matters.
  if (verdict.type === 'moved' && (await ports.isCordoned(pod.spec.nodeName ?? '', signal)))
    verdict = decideEviction({ ...known, cordoned: true });
  switch (verdict.type) {
    case 'pass':
      if (verdict.lost === undefined) return pass;
      ports.lost(pod, verdict.lost);
      return { allow: true, warnings: [`podferry: pod ${name} is evicted without its memory: ${verdict.lost}`] };
    case 'moved':
      return { allow: false, code: 404, reason: 'NotFound', message: verdict.message };
    case 'wait':
      if (verdict.create) {
        const made = await ports.createMigration(verdict.create, signal);
        // The cache did not show yet that this very try has failed: the next one who asks makes another.
        if (isFinished(made)) return later(`podferry: ${made.status?.failure?.message ?? 'it is tried again'}`);
      }
      return later(verdict.message);
  }
}

function isMeant({ metadata }: Pod, { preconditions: { uid, resourceVersion } = {} }: EvictionReview): boolean {
  return (!uid || uid === metadata.uid) && (!resourceVersion || resourceVersion === metadata.resourceVersion);
}
