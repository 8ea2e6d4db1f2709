import type { Migration } from '../../../src/api/migration.ts';
import type { Pod } from '../../../src/api/pod.ts';
import type { MigrationPolicy } from '../../../src/api/policy.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/api/volume.ts';
import type { EvictionPorts } from '../../../src/webhook/evictions.ts';
import type { WebhookPorts } from '../../../src/webhook/ports.ts';
import type { AdmissionRequest, UserInfo } from '../../../src/webhook/review.ts';
import { now } from '../plan/migration/observations.ts';
import { namespace } from '../plan/objects.ts';

/** Admission requests as API servers send them, and a cluster of a few objects to decide about them. */

export const controllerUser = 'system:serviceaccount:podferry-system:podferry-controller';
export const anna: UserInfo = { username: 'anna', groups: ['system:authenticated'] };

/** Calls fail once the signal has aborted, as those of the real client do. */
export class FakeCluster implements WebhookPorts, EvictionPorts {
  readonly controllerUser = controllerUser;
  migrations: Migration[] = [];
  pods: Pod[] = [];
  claims: PersistentVolumeClaim[] = [];
  volumes: PersistentVolume[] = [];
  readonly readVolumes: string[] = [];
  access = { allowed: true, reason: '' };
  migrationPolicies: MigrationPolicy[] = [];
  labels: Record<string, Record<string, string>> = { [namespace]: { 'podferry.io/enabled': 'true' } };
  cordoned: string[] = [];
  readonly given: { pod: string; message: string }[] = [];
  readonly askedFor: string[] = [];
  readonly created: Migration[] = [];
  /** What happens in the cluster while the webhook waits. */
  meanwhile: (() => void)[] = [];

  async mayMigrate(user: UserInfo, ns: string, signal: AbortSignal) {
    signal.throwIfAborted();
    this.askedFor.push(`${user.username} in ${ns}`);
    return this.access;
  }

  activeMigrations(ns: string): Migration[] {
    return this.migrations.filter(
      ({ metadata, status }) => metadata.namespace === ns && status?.phase !== 'Succeeded' && status?.phase !== 'Failed',
    );
  }

  async getMigration(ns: string, name: string, signal: AbortSignal) {
    signal.throwIfAborted();
    return this.migrations.find(({ metadata }) => metadata.namespace === ns && metadata.name === name);
  }

  now(): number {
    return now;
  }

  policies(): MigrationPolicy[] {
    return this.migrationPolicies;
  }

  namespaceLabels(ns: string) {
    return this.labels[ns];
  }

  /** A cache. */
  migrationsOf(ns: string, pod: string): Migration[] {
    return this.migrations.filter(
      ({ metadata, spec, status }) => metadata.namespace === ns && [spec.pod, status?.target?.name].includes(pod),
    );
  }

  lost(pod: Pod, message: string): void {
    this.given.push({ pod: pod.metadata.name, message });
  }

  /** The one of that name when there is one, as the API server gives each name only once. */
  async createMigration(migration: Migration, signal: AbortSignal) {
    signal.throwIfAborted();
    const { name } = migration.metadata;
    const there = await this.getMigration(migration.metadata.namespace ?? '', name, signal);
    if (there) return there;
    this.created.push(migration);
    this.migrations.push(migration);
    return migration;
  }

  async isCordoned(nodeName: string, signal: AbortSignal) {
    signal.throwIfAborted();
    return this.cordoned.includes(nodeName);
  }

  async getPod(ns: string, name: string, signal: AbortSignal) {
    signal.throwIfAborted();
    return this.pods.find(({ metadata }) => metadata.namespace === ns && metadata.name === name);
  }

  async getVolumeClaim(ns: string, name: string, signal: AbortSignal) {
    signal.throwIfAborted();
    this.readVolumes.push(`${ns}/${name}`);
    return this.claims.find(({ metadata }) => metadata.namespace === ns && metadata.name === name);
  }

  async getVolume(name: string, signal: AbortSignal) {
    signal.throwIfAborted();
    this.readVolumes.push(name);
    return this.volumes.find(({ metadata }) => metadata.name === name);
  }

  /** The next thing that happens; when nothing does any more, the deadline. */
  async nextChange(_namespace: string, _name: string, _limit: number, signal: AbortSignal): Promise<void> {
    const change = this.meanwhile.shift();
    if (change) return change();
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  }
}

export function requestOf(operation: AdmissionRequest['operation'], object: Pod, change: Partial<AdmissionRequest> = {}): AdmissionRequest {
  return {
    uid: 'admission-1',
    operation,
    namespace,
    kind: { group: '', version: 'v1', kind: 'Pod' },
    userInfo: anna,
    object,
    ...change,
  };
}

/** A request about an Eviction, as kubectl drain makes it. */
export function evictionOf(pod: Pod, change: Record<string, unknown> = {}): Record<string, unknown> {
  const { name } = pod.metadata;
  return {
    uid: 'admission-1',
    operation: 'CREATE',
    namespace,
    name,
    dryRun: false,
    kind: { group: 'policy', version: 'v1', kind: 'Eviction' },
    resource: { group: '', version: 'v1', resource: 'pods' },
    subResource: 'eviction',
    userInfo: anna,
    object: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } },
    oldObject: null,
    ...change,
  };
}

/** The AdmissionReview of a request. */
export function reviewOf(request: unknown): Record<string, unknown> {
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request };
}

/** The pod with this annotation too. */
export function withAnnotation(pod: Pod, name: string, value: string): Pod {
  return { ...pod, metadata: { ...pod.metadata, annotations: { ...pod.metadata.annotations, [name]: value } } };
}

/** A signal that nobody aborts. */
export const patient = new AbortController().signal;
