import type { Migration } from '../../../src/api/migration.ts';
import type { Pod } from '../../../src/api/pod.ts';
import type { WebhookPorts } from '../../../src/webhook/ports.ts';
import type { AdmissionRequest, UserInfo } from '../../../src/webhook/review.ts';
import { namespace } from '../plan/objects.ts';

/** Admission requests as API servers send them, and a cluster of a few objects to decide about them. */

export const controllerUser = 'system:serviceaccount:podferry-system:podferry-controller';
export const anna: UserInfo = { username: 'anna', groups: ['system:authenticated'] };

/** Calls fail once the signal has aborted, as those of the real client do. */
export class FakeCluster implements WebhookPorts {
  readonly controllerUser = controllerUser;
  migrations: Migration[] = [];
  pods: Pod[] = [];
  access = { allowed: true, reason: '' };
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

  async createMigration(migration: Migration, signal: AbortSignal) {
    signal.throwIfAborted();
    this.created.push(migration);
    this.migrations.push(migration);
    return migration;
  }

  async getPod(ns: string, name: string, signal: AbortSignal) {
    signal.throwIfAborted();
    return this.pods.find(({ metadata }) => metadata.namespace === ns && metadata.name === name);
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

/** The pod with this annotation too. */
export function withAnnotation(pod: Pod, name: string, value: string): Pod {
  return { ...pod, metadata: { ...pod.metadata, annotations: { ...pod.metadata.annotations, [name]: value } } };
}

/** A signal that nobody aborts. */
export const patient = new AbortController().signal;
