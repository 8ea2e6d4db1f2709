import type { Migration } from '../../api/migration.ts';
import type { Node, Pod } from '../../api/pod.ts';
import type { MigrationPolicy } from '../../api/policy.ts';
import type { PreviewTrigger } from '../../api/preview.ts';
import type { Budget } from './budgets.ts';

/** A node and all that says what would become of its pods. */
export interface PreviewInput {
  /** Milliseconds since the epoch. */
  now: number;
  trigger: PreviewTrigger;
  node: Node;
  pods: readonly Pod[];
  policies: readonly MigrationPolicy[];
  /** Labels of a namespace that is enabled for podferry; undefined of others. */
  namespaceLabels(namespace: string): Record<string, string> | undefined;
  /** Of the whole cluster: others stand in the same queue. */
  migrations: readonly Migration[];
  budgets: readonly Budget[];
  /** Node of a pod elsewhere whose Migration waits for its turn. Not known: it is taken to be on a node of its own. */
  nodeOf?(namespace: string, pod: string): string | undefined;
}
