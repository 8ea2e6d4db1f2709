import type { Migration } from '../api/migration.ts';
import { apiVersion, userAnnotations } from '../api/names.ts';
import type { Pod } from '../api/pod.ts';
import { runningContainers } from '../api/pod.ts';
import { shortHash, withSuffix } from '../plan/hash.ts';
import { controllerOf, refusePod, refusePodNow } from '../plan/pods/support.ts';
import { isAwaitedBy, toTarget } from '../plan/pods/target.ts';
import { isObjectName, mayNot, type WebhookPorts } from './ports.ts';
import { type AdmissionRequest, forbid, invalid, later, type Verdict } from './review.ts';

/** How often the one who creates is asked to come back. Seconds. */
const retryAfter = 2;

/**
 * A new pod that names the pod it continues (`migrate-from`): the Migration is made, and the request waits for the
 * checkpoint as long as its deadline allows; after that it is answered with the progress, and the create that is tried
 * again finds the finished work.
 */
export async function becomeTarget(ports: WebhookPorts, request: AdmissionRequest, signal: AbortSignal): Promise<Verdict> {
  const pod = request.object as Pod;
  const namespace = request.namespace ?? '';
  const asked = readAnnotations(pod);
  if ('problem' in asked) return invalid(asked.problem);
  const access = await ports.mayMigrate(request.userInfo, namespace, signal);
  if (!access.allowed) return forbid(mayNot(request.userInfo, namespace, access.reason));

  const source = await ports.getPod(namespace, asked.source, signal);
  const name = withSuffix(pod.metadata.name, shortHash(`${asked.source}/${source?.metadata.uid}/${asked.destination}`));
  let migration = await ports.getMigration(namespace, name, signal);
  if (!migration) {
    const problem = problemOf(source, pod, asked);
    if (problem) return invalid(problem);
    const wanted = newMigration(namespace, name, pod.metadata.name, asked);
    if (request.dryRun) return { allow: true, warnings: [`pod ${asked.source} would be moved to node ${asked.destination}`] };
    migration = await ports.createMigration(wanted, signal);
  }
  for (;;) {
    if (isAwaitedBy(migration, pod)) return { allow: true, pod: toTarget(migration, pod) };
    const phase = migration.status?.phase;
    if (phase === 'Failed' || phase === 'RollingBack') {
      return invalid(`Migration ${name} failed: ${migration.status?.failure?.message ?? 'see its conditions'}; delete it to try again`);
    }
    if (phase === 'Succeeded' || phase === 'CleaningUp' || phase === 'Restoring')
      return invalid(`Migration ${name} already has its target pod`);
    if (request.dryRun) break;
    await ports.nextChange(namespace, name, 1000, signal);
    if (signal.aborted) break;
    try {
      migration = (await ports.getMigration(namespace, name, signal)) ?? migration;
    } catch (error) {
      if (!signal.aborted) throw error;
      break;
    }
  }
  return later(`podferry: ${progressOf(migration)}; create the pod again to go on`, retryAfter);
}

interface Asked {
  source: string;
  container?: string;
  destination: string;
}

function readAnnotations(pod: Pod): Asked | { problem: string } {
  const annotations = pod.metadata.annotations ?? {};
  const from = annotations[userAnnotations.migrateFrom] ?? '';
  const destination = annotations[userAnnotations.destination];
  const [source = '', container, ...rest] = from.split('/');
  if (!isObjectName(source) || rest.length > 0 || container === '') {
    return { problem: `${userAnnotations.migrateFrom}: ${JSON.stringify(from)} is neither POD nor POD/CONTAINER` };
  }
  if (!destination || !isObjectName(destination)) {
    return { problem: `a pod with ${userAnnotations.migrateFrom} needs ${userAnnotations.destination}: NODE` };
  }
  if (!pod.metadata.name) return { problem: `a pod with ${userAnnotations.migrateFrom} needs a metadata.name; generateName is not enough` };
  if (pod.metadata.name === source)
    return { problem: `pod ${source} cannot continue itself; annotate it with ${userAnnotations.migrateTo}` };
  return { source, destination, ...(container ? { container } : {}) };
}

function problemOf(source: Pod | undefined, pod: Pod, asked: Asked): string | undefined {
  if (!source) return `there is no pod ${asked.source} to continue`;
  const refusal = refusePod(source) ?? refusePodNow(source);
  if (refusal) return refusal.message;
  const owner = controllerOf(source);
  if (owner)
    return `pod ${asked.source} belongs to ${owner.kind} ${owner.name}, which would replace it; annotate it with ${userAnnotations.migrateTo} instead`;
  if (source.spec.nodeName === asked.destination) return `pod ${asked.source} already runs on node ${asked.destination}`;
  const names = runningContainers(source).map((container) => container.name);
  if (asked.container && !names.includes(asked.container))
    return `pod ${asked.source} has no container ${asked.container}; it has ${names.join(', ')}`;
  if (asked.container && names.length > 1) {
    return `pod ${asked.source} has the containers ${names.join(', ')}, which move together; leave /${asked.container} out`;
  }
  const own = runningContainers(pod).map((container) => container.name);
  const missing = names.filter((name) => !own.includes(name));
  if (missing.length && !(names.length === 1 && own.length === 1)) {
    return `pod ${pod.metadata.name} has no container ${missing.join(', ')} to continue that of pod ${asked.source}`;
  }
  return undefined;
}

function newMigration(namespace: string, name: string, targetPod: string, asked: Asked): Migration {
  return {
    apiVersion,
    kind: 'Migration',
    metadata: { namespace, name },
    spec: { pod: asked.source, destination: { nodeName: asked.destination }, targetPod },
  };
}

function progressOf(migration: Migration): string {
  return migration.status?.conditions?.find((condition) => condition.type === 'Ready')?.message ?? 'the migration begins';
}
