import type { Migration, Phase } from '../api/migration.ts';
import type { PolicySpec } from '../api/policy.ts';
import { policyOf } from '../plan/migration/index.ts';

export interface SharePorts {
  /** All Migrations, from a cache that may lag. */
  migrations(): readonly Migration[];
  limits(policy: string): PolicySpec['limits'];
  /** Has a Migration looked at again. */
  wake(migration: Migration): void;
}

/** Phases in which a migration ships, or is about to. */
const shipping = new Set<Phase>(['Freezing', 'Checkpointing', 'Shipping']);

/**
 * What of its policy's `limits.bytesPerSecond` one migration may take: an equal part of those that ship or are about to.
 * The sum is above the total for as long as it takes to tell the agents of those that have to take less.
 */
export class Shares {
  readonly #ports: SharePorts;
  /** policy → the share of each, as it was when all were told last. */
  #told = new Map<string, number>();

  constructor(ports: SharePorts) {
    this.#ports = ports;
  }

  /** Bytes per second; undefined when nothing limits it, or when it does not ship. */
  of(migration: Migration): number | undefined {
    const policy = policyOf(migration);
    const total = policy === undefined ? undefined : this.#ports.limits(policy)?.bytesPerSecond;
    if (total === undefined || !ships(migration)) return undefined;
    // The cache may not show yet that it ships.
    const others = this.#ports
      .migrations()
      .filter((other) => other.metadata.uid !== migration.metadata.uid && policyOf(other) === policy && ships(other));
    return shareOf(total, others.length + 1);
  }

  /** Wakes those that ship with another share than before. */
  tell(): void {
    const groups = new Map<string, Migration[]>();
    for (const migration of this.#ports.migrations()) {
      const policy = policyOf(migration);
      if (policy === undefined || !ships(migration)) continue;
      const group = groups.get(policy);
      if (group) group.push(migration);
      else groups.set(policy, [migration]);
    }
    const told = new Map<string, number>();
    for (const [policy, group] of groups) {
      const total = this.#ports.limits(policy)?.bytesPerSecond;
      const share = total === undefined ? undefined : shareOf(total, group.length);
      if (share !== undefined) told.set(policy, share);
      if (share !== this.#told.get(policy)) for (const migration of group) this.#ports.wake(migration);
    }
    this.#told = told;
  }
}

function shareOf(total: number, count: number): number {
  return Math.max(1, Math.floor(total / count));
}

function ships({ status }: Migration): boolean {
  return status?.phase !== undefined && shipping.has(status.phase);
}
