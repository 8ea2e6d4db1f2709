import type { Migration } from '../../api/migration.ts';
import { policyAnnotations } from '../../api/names.ts';
import { policyOf } from '../migration/accept.ts';
import type { Ticket } from './turns.ts';

/**
 * A migration of a policy as the queue sees it.
 *
 * @param seen of its pod, as far as it was looked at: more than the migration itself says before it begins
 */
export function ticketOf(migration: Migration, seen: { nodeName?: string | undefined; budgets?: readonly string[] | undefined }): Ticket {
  const { metadata, spec, status } = migration;
  const destination = status?.target?.nodeName ?? spec.destination?.nodeName;
  return {
    uid: metadata.uid ?? '',
    policy: policyOf(migration) ?? '',
    source: status?.source?.nodeName ?? seen.nodeName ?? '',
    ...(destination === undefined ? {} : { destination }),
    priority: Number(metadata.annotations?.[policyAnnotations.priority] ?? 0) || 0,
    created: metadata.creationTimestamp ?? '',
    budgets: seen.budgets ?? status?.budgets ?? [],
  };
}
