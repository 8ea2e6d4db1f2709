import type { Phase, Timeouts } from '../../src/api/migration.ts';
import type { Migration, Pod } from '../../src/kube/resources.ts';
import type { Space } from '../cluster/support/space.ts';

export const kinds = ['Pod', 'Deployment', 'StatefulSet'] as const;
export type Kind = (typeof kinds)[number];

/** What a fault sees of the trial it is part of. */
export interface Trial {
  space: Space;
  kind: Kind;
  /** The source as it was before the migration. */
  pod: Pod;
  migration: Migration;
  source: string;
  destination: string;
}

/**
 * - `memory`: the pod runs with its memory, wherever
 * - `moved`, `stayed`: and on the destination, on the source
 * - `fresh`: the memory was lost with the process itself, before it was frozen, as it would be without podferry
 * - `gone`: whoever wanted the pod deleted it; nothing is left of it
 */
export type Expected = 'memory' | 'moved' | 'stayed' | 'fresh' | 'gone';

export interface Fault {
  name: string;
  /** Injected as soon as the migration is seen in this phase. */
  at: Phase;
  kinds?: readonly Kind[];
  /** MiB of memory of the pod; more of it makes phases longer. Default 64. */
  memory?: number;
  transfer?: 'Direct' | 'Registry';
  timeouts?: Partial<Timeouts>;
  /** Before the migration is asked for. */
  prepare?(trial: Omit<Trial, 'migration'>): Promise<void>;
  inject(trial: Trial): Promise<void>;
  /** Takes the fault away again; also after a failure. Without it the fault is over at once. */
  heal?(trial: Omit<Trial, 'migration'>): Promise<void>;
  /** How long it lasts until it is healed. Milliseconds, default 0. */
  lasts?: number;
  /** Default: `memory`. */
  expected?: Expected;
  /** What the migration must have come to, if it must. */
  phase?: 'Succeeded' | 'Failed';
  /** By when the migration has to end. Milliseconds, default 120,000. */
  limit?: number;
}
