import { z } from 'zod';
import { conditionSchema, immutable, type ObjectMeta, time } from './migration.ts';
import type { apiVersion } from './names.ts';

export const previewDefaults = { ttlSecondsAfterFinished: 3600 } as const;

/** Rows that a status holds at most, so that it stays well below what the API server stores of an object. */
export const mostRows = 500;

export const previewTriggers = ['Eviction', 'Node'] as const;
export type PreviewTrigger = (typeof previewTriggers)[number];

/** What would become of a pod; in the order in which they are shown. */
export const verdicts = ['Migrate', 'Moving', 'Block', 'Evict', 'Stay', 'Uncovered', 'Ignored'] as const;
export type Verdict = (typeof verdicts)[number];

const word = () => z.string().min(1).max(253);

export const previewSpecSchema = z
  .object({
    nodeName: word().meta({ description: 'The node that is looked at.' }),
    trigger: z
      .enum(previewTriggers)
      .default('Eviction')
      .meta({ description: 'Eviction: all pods are evicted, as kubectl drain does. Node: what policies ask for as the node is now.' }),
    policy: word().optional().meta({ description: 'Only the pods to which this MigrationPolicy applies. Left out: all pods of the node.' }),
    ttlSecondsAfterFinished: z
      .int()
      .min(1)
      .max(604_800)
      .default(previewDefaults.ttlSecondsAfterFinished)
      .meta({ description: 'The object is deleted this many seconds after it was filled.' }),
  })
  .meta({
    description: 'What to look at. Nothing of it is acted on. Immutable: make another MigrationPreview.',
    ...immutable('the spec of a MigrationPreview is immutable'),
  });
export type PreviewSpec = z.input<typeof previewSpecSchema>;

export const podPreviewSchema = z.object({
  namespace: z.string(),
  name: z.string(),
  verdict: z.enum(verdicts).meta({
    description:
      'Migrate: a Migration would be made. Moving: it is on its way already. Block: it cannot be moved, the eviction would be refused. Evict: it cannot be moved, its memory would be lost. Stay: it cannot be moved and nobody has asked for its end. Uncovered: no policy has a word on it. Ignored: it belongs to its node, or goes already.',
  }),
  policy: z.string().optional().meta({ description: 'The MigrationPolicy that applies.' }),
  migration: z.string().optional().meta({ description: 'The Migration that would be made, or that is under way.' }),
  destination: z
    .object({ nodeSelector: z.record(z.string(), z.string()).optional(), avoid: z.array(z.string()).optional() })
    .optional()
    .meta({ description: 'As in the Migration. Left out: the scheduler chooses freely.' }),
  queuePosition: z.int().optional().meta({ description: 'It would have to wait for its turn: 1 is next.' }),
  message: z.string().meta({ description: 'Where to and when, or why not.' }),
});
export type PodPreview = z.infer<typeof podPreviewSchema>;

export const previewStatusSchema = z.object({
  observedGeneration: z.int().optional(),
  observed: time().optional().meta({ description: 'When it was looked at.' }),
  counts: z
    .partialRecord(z.enum(verdicts), z.int())
    .optional()
    .meta({ description: 'Pods by verdict, also those that are left out of the list.' }),
  pods: z.array(podPreviewSchema).optional(),
  omitted: z
    .int()
    .optional()
    .meta({ description: `Pods that are not listed: the list ends after ${mostRows}.` }),
  conditions: z
    .array(conditionSchema)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
});
export type PreviewStatus = z.infer<typeof previewStatusSchema>;

/** What policies would do to a node, asked for by creating one; the controller fills it once. */
export interface MigrationPreview {
  apiVersion: typeof apiVersion;
  kind: 'MigrationPreview';
  metadata: ObjectMeta;
  spec: PreviewSpec;
  status?: PreviewStatus;
}
