import { compare } from 'fast-json-patch';
import type { Migration } from '../api/migration.ts';
import { internalAnnotations, userAnnotations } from '../api/names.ts';
import type { Pod } from '../api/pod.ts';
import { shortHash } from '../plan/hash.ts';
import { refusePod, refusePodNow } from '../plan/pods/support.ts';
import { isAwaitedBy, refusesReplacement, toTarget } from '../plan/pods/target.ts';
import { isObjectName, mayNot, type WebhookPorts } from './ports.ts';
import { reviewDebugging, withPreparation } from './preparing.ts';
import { becomeTarget } from './provided.ts';
import { type AdmissionRequest, forbid, invalid, later, pass, type Verdict } from './review.ts';

/** What the webhook says to a request about a pod. Without side effects, except for `migrate-from` outside of a dry run. */
export async function reviewPod(ports: WebhookPorts, request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> {
  if (request.subResource === 'ephemeralcontainers') return reviewDebugging(ports, request);
  if (request.operation === 'UPDATE') return reviewUpdate(ports, request, signal);
  if (request.operation === 'CREATE') return withPreparation(ports, request, await reviewCreate(ports, request, signal), signal);
  return pass;
}

/** A running pod is asked to move: whoever asks must be allowed to create Migrations. */
async function reviewUpdate(ports: WebhookPorts, request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> {
  const pod = request.object as Pod;
  const wanted = pod.metadata.annotations?.[userAnnotations.migrateTo];
  const before = request.oldObject?.metadata.annotations?.[userAnnotations.migrateTo];
  if (request.userInfo.username === ports.controllerUser) return pass;
  const forged = internalKeys.find((key) => pod.metadata.annotations?.[key] !== request.oldObject?.metadata.annotations?.[key]);
  if (forged) return forbid(`only podferry itself sets the annotation ${forged}`);
  if (wanted === undefined || wanted === before) return pass;
  const namespace = request.namespace ?? '';
  if (!isObjectName(wanted))
    return invalid(`${userAnnotations.migrateTo}: ${JSON.stringify(wanted)} is neither the name of a node nor "auto"`);
  const access = await ports.mayMigrate(request.userInfo, namespace, signal);
  if (!access.allowed) return forbid(mayNot(request.userInfo, namespace, access.reason));
  const refusal = refusePod(pod) ?? refusePodNow(pod);
  if (refusal) return invalid(refusal.message);
  const active = ports.activeMigrations(namespace).find((migration) => migration.spec.pod === pod.metadata.name);
  if (active) return invalid(`pod ${pod.metadata.name} is already moved by Migration ${active.metadata.name}`);
  return { allow: true, pod: annotated(pod, { [internalAnnotations.request]: request.uid }) };
}

async function reviewCreate(ports: WebhookPorts, request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> {
  const pod = request.object as Pod;
  const namespace = request.namespace ?? '';
  const annotations = pod.metadata.annotations ?? {};
  const internal = internalKeys.find((key) => annotations[key] !== undefined);
  if (internal && annotations[internalAnnotations.migrationUid]) return reviewAgain(ports, request, pod, signal);
  if (internal && request.userInfo.username !== ports.controllerUser) return forbid(`only podferry itself sets the annotation ${internal}`);
  if (annotations[userAnnotations.migrateFrom] !== undefined) return becomeTarget(ports, request, signal);
  if (annotations[userAnnotations.migrateTo] !== undefined) {
    return invalid(
      `${userAnnotations.migrateTo} belongs on a running pod, not on a new one (or on a template, whose pods would move without end)`,
    );
  }
  const named = annotations[internalAnnotations.migration];
  const candidates = ports
    .activeMigrations(namespace)
    .filter((migration) => (named ? migration.metadata.name === named : migration.status?.source?.owner && mayConcern(migration, pod)));
  // Several pods of one owner may be on their way at once: their replacements spread over them by the request's uid.
  candidates.sort((left, right) => order(request, left).localeCompare(order(request, right)));
  for (const cached of candidates) {
    const migration = await ports.getMigration(namespace, cached.metadata.name, signal);
    if (migration && refusesReplacement(migration, pod)) {
      return later(
        `podferry gives pod ${migration.spec.pod} back (Migration ${migration.metadata.name}); its replacement is not needed`,
        1,
      );
    }
    if (!migration || !isAwaitedBy(migration, { ...pod, metadata: { ...pod.metadata, namespace } })) continue;
    const name = migration.status?.target?.name ?? '';
    const taken = pod.metadata.name ? undefined : await ports.getPod(namespace, name, signal);
    if (taken) continue;
    if (!(await mayClaim(ports, request, migration, signal))) continue;
    return { allow: true, pod: toTarget(migration, pod) };
  }
  if (named) return forbid(`Migration ${named} does not wait for pod ${pod.metadata.name}`);
  return pass;
}

const internalKeys: string[] = Object.values(internalAnnotations);

/** Invoked again for a pod that is a target already (reinvocationPolicy IfNeeded), or somebody made one up. */
async function reviewAgain(ports: WebhookPorts, request: AdmissionRequest, pod: Pod, signal: AbortSignal): Promise<Verdict> {
  const namespace = request.namespace ?? '';
  const migration = await ports.getMigration(namespace, pod.metadata.annotations?.[internalAnnotations.migration] ?? '', signal);
  const known =
    migration && isAwaitedBy(migration, pod) && migration.metadata.uid === pod.metadata.annotations?.[internalAnnotations.migrationUid];
  if (!known || !(await mayClaim(ports, request, migration, signal))) {
    return forbid(`only podferry itself sets the annotation ${internalAnnotations.migrationUid}`);
  }
  return { allow: true, pod: toTarget(migration, pod) };
}

/**
 * Whether who creates a pod may get a migration's memory into it: podferry itself, the cluster's own controllers for what
 * they own, and whoever may make Migrations here. An owner reference alone proves nothing, anybody can write one.
 */
async function mayClaim(ports: WebhookPorts, request: AdmissionRequest, migration: Migration, signal: AbortSignal): Promise<boolean> {
  const { username, groups = [] } = request.userInfo;
  if (username === ports.controllerUser) return true;
  const { owner } = migration.status?.source ?? {};
  // Only podferry makes a bare pod again.
  if (migration.status?.switchKind === 'Recreate' && !owner) return false;
  const isOwner = username === 'system:kube-controller-manager' || groups.includes('system:serviceaccounts:kube-system');
  if (isOwner && owner) return true;
  return (await ports.mayMigrate(request.userInfo, request.namespace ?? '', signal)).allowed;
}

function mayConcern(migration: Migration, pod: Pod): boolean {
  const owner = migration.status?.source?.owner;
  return pod.metadata.ownerReferences?.some((reference) => reference.controller && reference.uid === owner?.uid) ?? false;
}

function order(request: AdmissionRequest, migration: Migration): string {
  return shortHash(`${request.uid}/${migration.metadata.uid}`, 8);
}

function annotated(pod: Pod, annotations: Record<string, string>): Pod {
  return { ...pod, metadata: { ...pod.metadata, annotations: { ...pod.metadata.annotations, ...annotations } } };
}

/** The difference as a JSON patch (RFC 6902), as admission wants it. */
export function patchOf(before: Pod, after: Pod): object[] {
  return compare(before, after);
}
