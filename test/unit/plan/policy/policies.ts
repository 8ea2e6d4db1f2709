import type { Migration, MigrationStatus } from '../../../../src/api/migration.ts';
import type { MigrationPolicy, PolicySpec } from '../../../../src/api/policy.ts';
import { ago } from '../migration/observations.ts';
import { migration, podUid } from '../objects.ts';

/** Policies, and the Migrations they make. */

export function policy(spec: PolicySpec = {}, metadata: Partial<MigrationPolicy['metadata']> = {}): MigrationPolicy {
  return { apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationPolicy', metadata: { name: 'drains', ...metadata }, spec };
}

export interface MadeChange {
  name?: string;
  policy?: string;
  trigger?: string;
  requestedBy?: string;
  podUid?: string;
  priority?: number;
  metadata?: Partial<Migration['metadata']>;
  spec?: Partial<Migration['spec']>;
}

/** A Migration that a policy made, as an eviction by anna asked ten seconds ago; of the pod of `objects.ts`. */
export function made(status: MigrationStatus | undefined, change: MadeChange = {}): Migration {
  const { name = 'try-1', trigger = 'eviction', requestedBy = trigger === 'eviction' ? 'anna' : undefined } = change;
  return migration({
    metadata: {
      name,
      uid: `uid-of-${name}`,
      creationTimestamp: ago(10),
      labels: { 'podferry.io/policy': change.policy ?? 'drains' },
      annotations: {
        'podferry.io/trigger': trigger,
        ...(requestedBy ? { 'podferry.io/requested-by': requestedBy } : {}),
        'podferry.io/priority': String(change.priority ?? 0),
        'podferry.io/pod-uid': change.podUid ?? podUid,
      },
      ...change.metadata,
    },
    ...(change.spec ? { spec: change.spec } : {}),
    ...(status ? { status } : {}),
  });
}

/** One that failed on this node. */
export function failed(name: string, nodeName: string | undefined, change: MadeChange & { status?: MigrationStatus } = {}): Migration {
  const { status, ...rest } = change;
  return made(
    {
      phase: 'Failed',
      failure: { reason: 'RestoreFailed', message: `${name} did not work` },
      ...(nodeName ? { target: { nodeName } } : {}),
      ...status,
    },
    { name, ...rest },
  );
}
