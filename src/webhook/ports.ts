import type { Migration } from '../api/migration.ts';
import type { Pod } from '../api/pod.ts';
import type { MigrationPolicy } from '../api/policy.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../api/volume.ts';
import type { UserInfo } from './review.ts';

/** How the webhook looks at the cluster; real in `run.ts`. */
export interface WebhookPorts {
  /** Whether the user may create Migrations in the namespace (SubjectAccessReview). */
  mayMigrate(user: UserInfo, namespace: string, signal: AbortSignal): Promise<{ allowed: boolean; reason: string }>;
  /** Migrations of the namespace that are under way, from a cache that may lag. */
  activeMigrations(namespace: string): Migration[];
  /** Straight from the API server. */
  getMigration(namespace: string, name: string, signal: AbortSignal): Promise<Migration | undefined>;
  createMigration(migration: Migration, signal: AbortSignal): Promise<Migration>;
  getPod(namespace: string, name: string, signal: AbortSignal): Promise<Pod | undefined>;
  /** Throw when they may not be read, too. */
  getVolumeClaim(namespace: string, name: string, signal: AbortSignal): Promise<PersistentVolumeClaim | undefined>;
  getVolume(name: string, signal: AbortSignal): Promise<PersistentVolume | undefined>;
  /** From caches that may lag. */
  policies(): readonly MigrationPolicy[];
  namespaceLabels(namespace: string): Record<string, string> | undefined;
  /** Resolves at the next change of the Migration, at the latest after `limit` milliseconds. */
  nextChange(namespace: string, name: string, limit: number, signal: AbortSignal): Promise<void>;
  /** The user name of podferry's own controller. */
  controllerUser: string;
}

/** Whether a text can be the name of a node or a pod (a DNS subdomain, RFC 1123). */
export function isObjectName(value: string): boolean {
  return value.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(value);
}

export function mayNot(user: UserInfo, namespace: string, reason: string): string {
  return `user ${user.username} may not create migrations.podferry.io in namespace ${namespace}${reason ? `: ${reason}` : ''}`;
}
