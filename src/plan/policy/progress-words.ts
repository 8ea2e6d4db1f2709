import type { Migration } from '../../api/migration.ts';

/** How far a migration is, in the few words that fit into what kubectl drain shows: `migrating to node-b, shipping 64 %`. */
export function inWords({ status, spec }: Migration): string {
  const node = status?.target?.nodeName ?? spec.destination?.nodeName;
  const to = node ? `migrating to ${node}` : 'migrating';
  switch (status?.phase) {
    case undefined:
    case 'Pending':
      return status?.queuePosition ? `waiting for its turn to migrate (position ${status.queuePosition})` : 'waiting to migrate';
    case 'Preparing':
      return `${to}, making room there`;
    case 'Freezing':
    case 'Checkpointing':
      return `${to}, checkpointing`;
    case 'Shipping': {
      const total = status.containers?.reduce((sum, { archiveBytes = 0 }) => sum + archiveBytes, 0) ?? 0;
      return total > 0 ? `${to}, shipping ${Math.min(100, Math.floor(((status.bytesSent ?? 0) * 100) / total))} %` : `${to}, shipping`;
    }
    case 'Holding':
    case 'Switching':
    case 'Restoring':
      return `${to}, restoring`;
    case 'CleaningUp':
    case 'Succeeded':
      return `migrated to ${node}`;
    case 'RollingBack':
    case 'Returning':
    case 'Failed':
      return `the migration failed and is undone (${status.failure?.message ?? 'the reason is not known'})`;
  }
}
