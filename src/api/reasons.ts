/**
 * Reasons of conditions and events (the same words in both). Stable: people alert on them.
 * docs/reasons.md lists what each means and what to do.
 */
export const reasons = {
  // On the way
  accepted: 'Accepted',
  queued: 'Queued',
  choosingDestination: 'ChoosingDestination',
  prepared: 'Prepared',
  frozen: 'Frozen',
  checkpointed: 'Checkpointed',
  shipped: 'Shipped',
  switching: 'Switching',
  restoring: 'Restoring',
  committed: 'Committed',
  succeeded: 'Succeeded',
  rollingBack: 'RollingBack',
  returning: 'Returning',

  // Events of pods
  migrating: 'Migrating',
  migrated: 'Migrated',
  migrationFailed: 'MigrationFailed',
  evictedWithoutState: 'EvictedWithoutState',

  // Refused, or failed while the destination was prepared: the source was not touched
  podNotFound: 'PodNotFound',
  podNotRunning: 'PodNotRunning',
  podNotSupported: 'PodNotSupported',
  alreadyMigrating: 'AlreadyMigrating',
  alreadyThere: 'AlreadyThere',
  namespaceNotEnabled: 'NamespaceNotEnabled',
  destinationNotFound: 'DestinationNotFound',
  destinationNotReady: 'DestinationNotReady',
  destinationCannotTakePod: 'DestinationCannotTakePod',
  cpuIncompatible: 'CPUIncompatible',
  agentUnavailable: 'AgentUnavailable',
  freezeBudgetTooSmall: 'FreezeBudgetTooSmall',
  placeholderRejected: 'PlaceholderRejected',
  baseImageUnavailable: 'BaseImageUnavailable',

  // Failed before the switch: the source runs on
  insufficientDisk: 'InsufficientDisk',
  freezeFailed: 'FreezeFailed',
  checkpointFailed: 'CheckpointFailed',
  shippingFailed: 'ShippingFailed',
  holdFailed: 'HoldFailed',
  timedOut: 'TimedOut',
  cancelled: 'Cancelled',
  sourceChanged: 'SourceChanged',

  // Failed after the switch: rolled back
  targetNotCreated: 'TargetNotCreated',
  restoreFailed: 'RestoreFailed',

  // Of a MigrationPreview
  previewed: 'Previewed',
  nodeNotFound: 'NodeNotFound',
  policyNotFound: 'PolicyNotFound',

  // Waits for an operator
  destinationUnreachable: 'DestinationUnreachable',
  sourceUnreachable: 'SourceUnreachable',
  archived: 'Archived',
} as const;

export type Reason = (typeof reasons)[keyof typeof reasons];
