import { z } from 'zod';
import { type ObjectMeta, timeoutsSchema, transferSchema, warmRoundsSchema } from './migration.ts';
import type { apiVersion } from './names.ts';

const word = () => z.string().min(1).max(253);

/** metav1.LabelSelector. */
const selector = (description: string) =>
  z
    .object({
      matchLabels: z.record(z.string(), z.string()).optional(),
      matchExpressions: z
        .array(
          z
            .object({
              key: word(),
              operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
              values: z.array(z.string()).max(100).optional(),
            })
            .meta({
              'x-kubernetes-validations': [
                {
                  rule: "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
                  message: 'In and NotIn need values, Exists and DoesNotExist take none',
                },
              ],
            }),
        )
        .max(20)
        .optional(),
    })
    .meta({ description });
export type LabelSelector = z.infer<ReturnType<typeof selector>>;

/** What a policy says where it says nothing. */
export const policyDefaults = { retries: 2, deadlineSeconds: 1800 } as const;

/** The least total of `limits.bytesPerSecond`. */
const smallestBytesPerSecond = 2 ** 20;

const atOnce = (description: string) => z.int().min(1).max(10_000).optional().meta({ description });

export const policySpecSchema = z
  .object({
    priority: z.int().min(-1_000_000).max(1_000_000).default(0).meta({
      description: 'Of several policies that cover a pod the one with the highest applies; of equals the one whose name sorts first.',
    }),
    namespaceSelector: selector(
      'Namespaces it covers, of those with the label podferry.io/enabled=true. Left out: all of them.',
    ).optional(),
    podSelector: selector('Pods it covers. Left out: all of those namespaces.').optional(),
    triggers: z
      .object({
        eviction: z.boolean().default(true).meta({ description: 'An eviction is asked for: kubectl drain, the autoscaler, anybody.' }),
        cordon: z.boolean().default(false).meta({ description: 'The node of the pod is cordoned.' }),
        taints: z
          .array(z.object({ key: word(), effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional() }))
          .max(20)
          .optional()
          .meta({ description: 'The node has one of these taints.' }),
        nodeConditions: z
          .array(z.object({ type: word(), status: z.enum(['True', 'False', 'Unknown']).default('True') }))
          .max(20)
          .optional()
          .meta({ description: 'The node has one of these conditions, and is still Ready: only then it can be moved from.' }),
      })
      .optional()
      .meta({ description: 'What makes a pod move. Left out: evictions.' }),
    prepare: z.boolean().optional().meta({
      description:
        'Whether pods are made migratable at their creation, where they do not say otherwise: containers get GODEBUG=multipathtcp=0 (Go), the pod seccompProfile RuntimeDefault (io_uring). Left out: this policy says nothing about it; no policy says it: no.',
    }),
    destination: z
      .object({ nodeSelector: z.record(z.string(), z.string()) })
      .optional()
      .meta({ description: "Labels the destination must have, beside the pod's own constraints." }),
    limits: z
      .object({
        perSource: atOnce('Migrations at once from a node.'),
        perDestination: atOnce('Migrations at once to a node.'),
        cluster: atOnce('Migrations at once in the cluster.'),
        bytesPerSecond: z
          .int()
          .min(smallestBytesPerSecond)
          .max(2 ** 50)
          .optional()
          .meta({
            description:
              'What all migrations of this policy together send per second, at least 1 MiB; each of those that are frozen or ship has an equal share. Pods are frozen meanwhile: less is longer.',
          }),
      })
      .optional()
      .meta({
        description:
          'How many migrations of this policy are under way at once, the others wait; and how fast they send. Left out: no limit.',
      }),
    onFailure: z.enum(['Block', 'Evict']).default('Block').meta({
      description:
        'When a pod that is to be evicted cannot be moved: Block refuses the eviction, the pod keeps running; Evict lets it through, its memory is lost.',
    }),
    retries: z
      .int()
      .min(0)
      .max(100)
      .default(policyDefaults.retries)
      .meta({ description: 'Migrations that are tried after the first has failed.' }),
    deadlineSeconds: z
      .int()
      .min(1)
      .max(604_800)
      .default(policyDefaults.deadlineSeconds)
      .meta({ description: 'From the first eviction on; after that onFailure applies.' }),
    transfer: transferSchema.default('Direct'),
    warmRounds: warmRoundsSchema.optional(),
    timeouts: timeoutsSchema.optional(),
  })
  .meta({ description: 'Which pods move, when, where to, and what if that fails.' });
export type PolicySpec = z.input<typeof policySpecSchema>;

export interface MigrationPolicy {
  apiVersion: typeof apiVersion;
  kind: 'MigrationPolicy';
  metadata: ObjectMeta;
  spec: PolicySpec;
}
