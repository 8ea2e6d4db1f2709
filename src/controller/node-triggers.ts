import type { Logger } from 'pino';
import type { Migration } from '../api/migration.ts';
import type { Node, Pod } from '../api/pod.ts';
import type { MigrationPolicy } from '../api/policy.ts';
import { keyOf } from '../kube/types.ts';
import { isTriggered, migrationsFrom, withdrawn } from '../plan/policy/node-trigger.ts';

export interface NodeTriggerPorts {
  /** From caches that may lag. */
  node(name: string): Node | undefined;
  policies(): readonly MigrationPolicy[];
  /** Labels of a namespace that is enabled for podferry; undefined of others. */
  namespaceLabels(namespace: string): Record<string, string> | undefined;
  migrationsOf(pod: Pod): readonly Migration[];
  /** Of pods that run there, or ran there when they were made. */
  migrationsFrom(nodeName: string): readonly Migration[];
  /** Straight from the API server: one list a triggered node. */
  podsOn(nodeName: string, signal: AbortSignal): Promise<readonly Pod[]>;
  createMigration(migration: Migration, signal: AbortSignal): Promise<void>;
  /** Fails when it has changed since the cache saw it: it may have begun. */
  withdrawMigration(migration: Migration, signal: AbortSignal): Promise<void>;
  /** In a while. */
  lookAgain(nodeName: string): void;
  log: Logger;
}

/**
 * Looks at one node: makes the Migrations that policies ask for, withdraws those they do not ask for any more. As long as
 * they ask for any it is looked at now and then: pods become ready there, or arrive.
 */
export async function lookAtNode(ports: NodeTriggerPorts, nodeName: string, signal: AbortSignal): Promise<void> {
  const node = ports.node(nodeName);
  if (!node) return;
  const policies = ports.policies();
  for (const migration of withdrawn(node, policies, ports.migrationsFrom(nodeName))) {
    await ports.withdrawMigration(migration, signal);
    ports.log.info({ migration: keyOf(migration), node: nodeName }, 'withdrawn: the node does not ask for it any more');
  }
  if (!isTriggered(node, policies)) return;
  ports.lookAgain(nodeName);
  const pods = (await ports.podsOn(nodeName, signal)).filter(({ metadata }) => ports.namespaceLabels(metadata.namespace ?? ''));
  for (const migration of migrationsFrom({
    node,
    pods,
    policies,
    namespaceLabels: ports.namespaceLabels,
    migrationsOf: ports.migrationsOf,
  })) {
    await ports.createMigration(migration, signal);
    ports.log.info({ migration: keyOf(migration), node: nodeName }, 'made as a policy asks');
  }
}
