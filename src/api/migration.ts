import { z } from 'zod';
import type { apiVersion } from './names.ts';
import type { Reason } from './reasons.ts';

/** RFC 3339 with fractions of a second, as metav1.MicroTime. */
export const time = () => z.string().meta({ format: 'date-time' });
const podName = () => z.string().min(1).max(253);
/** Meta of a schema whose value stays as it was created (CEL). */
export const immutable = (message: string) => ({ 'x-kubernetes-validations': [{ rule: 'self == oldSelf', message }] });

/** How the archives get from the source's agent to the destination's. */
export const transferSchema = z.enum(['Direct', 'Registry']).meta({
  description:
    'Direct: from agent to agent over mutually authenticated TLS. Registry: pushed to the registry that podferry was configured with and fetched from there.',
});
export type Transfer = z.infer<typeof transferSchema>;

/** How often memory may be sent ahead. */
export const warmRoundsSchema = z.int().min(0).max(10).meta({
  description:
    'How often its memory may be sent ahead while the pod runs, so that only what changed is sent after the freeze; each time it stands still while CRIU writes. Left out: as often as it pays. 0: never.',
});

const seconds = (fallback: number, description: string) => z.int().min(1).max(86400).default(fallback).meta({ description });

export const timeoutsSchema = z
  .object({
    prepareSeconds: seconds(120, 'From acceptance until the destination is chosen and holds the base images.'),
    freezeSeconds: seconds(
      300,
      'From the end of the preparation until the archives are on the destination; the source, frozen for most of it, resumes when this runs out.',
    ),
    switchSeconds: seconds(60, 'For the agents to agree on the switch, and then again until the target pod exists.'),
    restoreSeconds: seconds(300, 'From the creation of the target pod until all its containers run.'),
  })
  .meta({ description: 'What each part of the migration may take, in seconds.' });
export type Timeouts = z.infer<typeof timeoutsSchema>;

export const defaultTimeouts: Timeouts = { prepareSeconds: 120, freezeSeconds: 300, switchSeconds: 60, restoreSeconds: 300 };

export const specSchema = z
  .object({
    pod: podName().meta({ description: 'The pod to move, in the namespace of the Migration: the source.' }),
    destination: z
      .object({
        nodeName: podName().optional().meta({ description: 'The node to move to.' }),
        nodeSelector: z
          .record(z.string(), z.string())
          .optional()
          .meta({ description: "Labels the node must have, beside the pod's own constraints." }),
        avoid: z
          .array(podName())
          .max(100)
          .optional()
          .meta({ description: 'Nodes that are taken only when no other fits: where it failed before.' }),
      })
      .optional()
      .meta({
        description: 'Where to. Left out: the scheduler chooses.',
        'x-kubernetes-validations': [
          { rule: '!(has(self.nodeName) && has(self.nodeSelector))', message: 'give nodeName or nodeSelector, not both' },
        ],
      }),
    targetPod: podName().optional().meta({
      description: 'The name of a pod that somebody else creates to become the target. Set by the webhook for podferry.io/migrate-from.',
    }),
    transfer: transferSchema.default('Direct'),
    warmRounds: warmRoundsSchema.optional(),
    timeouts: timeoutsSchema.optional(),
    ttlSecondsAfterFinished: z
      .int()
      .min(0)
      .optional()
      .meta({ description: 'The Migration is deleted this many seconds after its end. Left out: kept.' }),
  })
  .meta({ description: 'What to do. Immutable: make another Migration.', ...immutable('the spec of a Migration is immutable') });
export type MigrationSpec = z.input<typeof specSchema>;

/**
 * Where a migration stands. For reading only; decisions are taken from it together with what is observed (src/plan).
 * Up to Holding the source can still be resumed by its agent alone; from Switching on only a roll back does that.
 * Returning: the pod's name was free already when the target failed, so it is restored on its origin from the archive.
 */
export const phases = [
  'Pending',
  'Preparing',
  'Freezing',
  'Checkpointing',
  'Shipping',
  'Holding',
  'Switching',
  'Restoring',
  'CleaningUp',
  'Succeeded',
  'RollingBack',
  'Returning',
  'Failed',
] as const;
export type Phase = (typeof phases)[number];

/** How the source makes room for its target. */
export const switchKinds = ['Release', 'Recreate', 'Provided'] as const;
export type SwitchKind = (typeof switchKinds)[number];

export const conditionSchema = z.object({
  type: z.string(),
  status: z.enum(['True', 'False', 'Unknown']),
  observedGeneration: z.int().optional(),
  lastTransitionTime: time(),
  reason: z.string(),
  message: z.string(),
});
export type Condition = z.infer<typeof conditionSchema>;

const containerSchema = z.object({
  name: z.string(),
  image: z.string().optional().meta({ description: "The base image, as in the source pod's spec." }),
  baseImage: z.string().optional().meta({ description: 'The base image by digest.' }),
  checkpointImage: z
    .string()
    .optional()
    .meta({ description: 'The reference the target pod is restored from; served on the destination only.' }),
  digest: z.string().optional().meta({ description: 'Of the checkpoint image.' }),
  archiveBytes: z.int().optional(),
  bytesSent: z.int().optional(),
  warmBytes: z
    .array(z.int())
    .optional()
    .meta({ description: 'Sent ahead while it ran, by round; what was sent after the freeze is in bytesSent.' }),
});
export type ContainerStatus = z.infer<typeof containerSchema>;

export const steps = [
  'accepted',
  'prepared',
  'frozen',
  'checkpointed',
  'shipped',
  'held',
  'created',
  'restored',
  'committed',
  'finished',
] as const;
export type Step = (typeof steps)[number];

export const statusSchema = z.object({
  observedGeneration: z.int().optional(),
  phase: z.enum(phases).optional(),
  conditions: z
    .array(conditionSchema)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
  switchKind: z.enum(switchKinds).optional().meta({
    description:
      'Release: the source leaves its owner, which makes a replacement. Recreate: the source is deleted and comes back under its name. Provided: the target is created by somebody else.',
  }),
  source: z
    .object({
      name: z.string(),
      uid: z.string(),
      nodeName: z.string(),
      owner: z.object({ apiVersion: z.string(), kind: z.string(), name: z.string(), uid: z.string() }).optional(),
      labels: z.record(z.string(), z.string()).optional().meta({ description: 'As before the release; given back by a roll back.' }),
      completionIndex: z.string().optional().meta({ description: 'Of a pod of an indexed Job; its replacement has the same.' }),
      wasReady: z.boolean().optional(),
      manifest: z.record(z.string(), z.unknown()).optional().meta({
        description: 'The pod as it is created again (switch kind Recreate).',
        type: 'object',
        'x-kubernetes-preserve-unknown-fields': true,
      }),
    })
    .optional(),
  target: z.object({ name: z.string().optional(), uid: z.string().optional(), nodeName: z.string() }).optional(),
  failedDestination: z.string().optional().meta({
    description:
      'The node on which the target failed, when the pod is restored on its origin; it holds a second copy of the archives until then.',
  }),
  returns: z.int().optional().meta({ description: 'How often the restore on the origin was tried.' }),
  returnFailure: z.string().optional().meta({ description: 'Why the last try at the origin failed.' }),
  policy: z.string().optional().meta({ description: 'The MigrationPolicy that this migration is made by, and whose limits it keeps.' }),
  queuePosition: z.int().optional().meta({ description: 'While it waits for its turn: 1 is next.' }),
  budgets: z.array(z.string()).optional().meta({ description: 'PodDisruptionBudgets that count the pod.' }),
  placeholder: z.string().optional().meta({ description: 'The pod that holds the room on the destination.' }),
  containers: z
    .array(containerSchema)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
  steps: z
    .object(Object.fromEntries(steps.map((step) => [step, time().optional()])) as Record<Step, z.ZodOptional<z.ZodString>>)
    .optional()
    .meta({ description: 'When each step was done.' }),
  freezeBudgetMilliseconds: z.int().optional().meta({
    description:
      'How long the source may stay frozen before the switch until a liveness probe would kill it. Left out: no probe bounds it.',
  }),
  downtimeMilliseconds: z
    .int()
    .optional()
    .meta({ description: 'From the freeze of the source until the last container of the target ran.' }),
  bytesSent: z.int().optional(),
  attempts: z.int().optional(),
  failure: z
    .object({ reason: z.string(), message: z.string() })
    .optional()
    .meta({ description: 'Why the migration rolls back or failed.' }),
});
export type MigrationStatus = Omit<z.infer<typeof statusSchema>, 'failure'> & { failure?: { reason: Reason; message: string } };

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  generateName?: string;
  ownerReferences?: OwnerReference[];
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface Migration {
  apiVersion: typeof apiVersion;
  kind: 'Migration';
  metadata: ObjectMeta;
  spec: MigrationSpec;
  status?: MigrationStatus;
}

/** The times a migration may take: what its spec says, else the defaults. Seconds. */
export function timeoutsOf(migration: Migration): Timeouts {
  const given = migration.spec.timeouts ?? {};
  return {
    prepareSeconds: given.prepareSeconds ?? defaultTimeouts.prepareSeconds,
    freezeSeconds: given.freezeSeconds ?? defaultTimeouts.freezeSeconds,
    switchSeconds: given.switchSeconds ?? defaultTimeouts.switchSeconds,
    restoreSeconds: given.restoreSeconds ?? defaultTimeouts.restoreSeconds,
  };
}

/** True when a migration has come to its end and holds nothing any more. */
export function isFinished(migration: Migration): boolean {
  const phase = migration.status?.phase;
  return phase === 'Succeeded' || phase === 'Failed';
}

/** True once a migration has been accepted, or refused. */
export function hasBegun({ status }: Migration): boolean {
  return status?.phase !== undefined && status.phase !== 'Pending';
}
