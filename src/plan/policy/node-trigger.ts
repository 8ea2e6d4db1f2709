import { hasBegun, isFinished, type Migration } from '../../api/migration.ts';
import { policyAnnotations } from '../../api/names.ts';
import type { Node, Pod } from '../../api/pod.ts';
import { isReady } from '../../api/pod.ts';
import { type MigrationPolicy, policyDefaults } from '../../api/policy.ts';
import { policyOf } from '../migration/accept.ts';
import { refusePod, refusePodNow } from '../pods/support.ts';
import { type Outcome, policyMigration, triesOf } from './eviction.ts';
import { policyFor, triggerOf } from './select.ts';

/** A node and what runs there. */
export interface NodeLook {
  node: Node;
  pods: readonly Pod[];
  policies: readonly MigrationPolicy[];
  namespaceLabels(namespace: string): Record<string, string> | undefined;
  /** Those that name the pod, or made it. */
  migrationsOf(pod: Pod): readonly Migration[];
}

/** Whether any policy has something to do on a node; asked at every change of it. */
export function isTriggered(node: Node, policies: readonly MigrationPolicy[]): boolean {
  // Only an agent that answers can move a pod away.
  return isReady(node) && policies.some((policy) => triggerOf(policy, { type: 'node', node }) !== undefined);
}

/** The Migrations to be made of a node's pods. What cannot migrate stays: nobody has asked for its end. */
export function migrationsFrom(look: NodeLook): Migration[] {
  return look.pods.flatMap((pod) => {
    const outcome = outcomeOnNode(look, pod);
    return outcome.type === 'migrate' ? [outcome.create] : [];
  });
}

/** What becomes of a pod as its node is now. */
export function outcomeOnNode({ node, policies, namespaceLabels, migrationsOf }: Omit<NodeLook, 'pods'>, pod: Pod): Outcome {
  const trigger = { type: 'node', node } as const;
  const known = migrationsOf(pod);
  const active = known.find((migration) => !isFinished(migration));
  if (active) return { type: 'moving', by: active };
  const labels = { namespace: namespaceLabels(pod.metadata.namespace ?? ''), labels: pod.metadata.labels };
  const policy = policyFor(policies, labels, trigger);
  if (!policy) return { type: 'asEver' };
  const cannot = (why: string): Outcome => ({ type: 'cannotMove', policy, why });
  const refusal = refusePod(pod) ?? refusePodNow(pod);
  if (refusal) return cannot(`it cannot be moved: ${refusal.message}`);
  if (!isReady(pod)) return cannot('it is not ready; it moves when it is');
  const tried = triesOf(pod, known);
  if (tried.length > (policy.spec.retries ?? policyDefaults.retries)) {
    const why = tried.at(-1)?.status?.failure?.message ?? 'the reason is not known';
    return cannot(`it could not be moved in ${tried.length} tries (the last: ${why})`);
  }
  return { type: 'migrate', policy, create: policyMigration(policy, pod, { trigger: triggerOf(policy, trigger) ?? '', tried }) };
}

/** Migrations that wait for their turn although their policy does not ask for them any more (uncordoned): not begun, so not done. */
export function withdrawn(node: Node, policies: readonly MigrationPolicy[], migrations: readonly Migration[]): Migration[] {
  const asking = new Set(policies.filter((policy) => isTriggered(node, [policy])).map(({ metadata }) => metadata.name));
  return migrations.filter((migration) => {
    const { metadata } = migration;
    if (hasBegun(migration) || metadata.deletionTimestamp) return false;
    return (metadata.annotations?.[policyAnnotations.trigger] ?? 'eviction') !== 'eviction' && !asking.has(policyOf(migration) ?? '');
  });
}
