import { z } from 'zod';
import { specSchema, statusSchema } from './migration.ts';
import { group, version } from './names.ts';
import { policySpecSchema } from './policy.ts';
import { previewSpecSchema, previewStatusSchema } from './preview.ts';

interface PrinterColumn {
  name: string;
  type: 'string' | 'integer' | 'date';
  jsonPath: string;
  priority?: number;
  description?: string;
}

interface Kind {
  kind: string;
  plural: string;
  singular: string;
  shortNames: string[];
  scope: 'Namespaced' | 'Cluster';
  spec: z.ZodType;
  /** Left out: nobody writes one. */
  status?: z.ZodType;
  /** CEL, about the whole object. */
  rules?: { rule: string; message: string }[];
  columns: PrinterColumn[];
}

const kinds: Kind[] = [
  {
    kind: 'Migration',
    plural: 'migrations',
    singular: 'migration',
    shortNames: ['mig'],
    scope: 'Namespaced',
    spec: specSchema,
    status: statusSchema,
    columns: [
      { name: 'Pod', type: 'string', jsonPath: '.spec.pod' },
      { name: 'From', type: 'string', jsonPath: '.status.source.nodeName' },
      { name: 'To', type: 'string', jsonPath: '.status.target.nodeName' },
      { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
      { name: 'Downtime (ms)', type: 'integer', jsonPath: '.status.downtimeMilliseconds' },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
      { name: 'Target', type: 'string', jsonPath: '.status.target.name', priority: 1 },
      { name: 'Sent', type: 'integer', jsonPath: '.status.bytesSent', priority: 1, description: 'Bytes sent to the destination.' },
      { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].message', priority: 1 },
    ],
  },
  {
    kind: 'MigrationPolicy',
    plural: 'migrationpolicies',
    singular: 'migrationpolicy',
    shortNames: ['migpol'],
    scope: 'Cluster',
    spec: policySpecSchema,
    // Migrations bear it as a label.
    rules: [{ rule: 'size(self.metadata.name) <= 63', message: 'the name of a MigrationPolicy has at most 63 characters' }],
    columns: [
      { name: 'Priority', type: 'integer', jsonPath: '.spec.priority' },
      { name: 'On failure', type: 'string', jsonPath: '.spec.onFailure' },
      { name: 'Per source', type: 'integer', jsonPath: '.spec.limits.perSource' },
      { name: 'Per destination', type: 'integer', jsonPath: '.spec.limits.perDestination' },
      { name: 'Cluster', type: 'integer', jsonPath: '.spec.limits.cluster' },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ],
  },
  {
    kind: 'MigrationPreview',
    plural: 'migrationpreviews',
    singular: 'migrationpreview',
    shortNames: ['migpreview'],
    scope: 'Cluster',
    spec: previewSpecSchema,
    status: previewStatusSchema,
    columns: [
      { name: 'Node', type: 'string', jsonPath: '.spec.nodeName' },
      { name: 'Trigger', type: 'string', jsonPath: '.spec.trigger' },
      { name: 'Policy', type: 'string', jsonPath: '.spec.policy' },
      { name: 'Migrate', type: 'integer', jsonPath: '.status.counts.Migrate' },
      { name: 'Block', type: 'integer', jsonPath: '.status.counts.Block' },
      { name: 'Evict', type: 'integer', jsonPath: '.status.counts.Evict' },
      { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
      { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].message', priority: 1 },
    ],
  },
];

/** The CustomResourceDefinitions (apiextensions.k8s.io/v1) of all kinds. */
export function customResourceDefinitions() {
  return kinds.map(({ kind, plural, singular, shortNames, scope, spec, status, rules, columns }) => ({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}`, labels: { 'app.kubernetes.io/name': 'podferry', 'app.kubernetes.io/component': 'crd' } },
    spec: {
      group,
      scope,
      names: { kind, plural, singular, shortNames, listKind: `${kind}List`, categories: ['podferry'] },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          ...(status ? { subresources: { status: {} } } : {}),
          additionalPrinterColumns: columns,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              required: ['spec'],
              ...(rules ? { 'x-kubernetes-validations': rules } : {}),
              properties: {
                apiVersion: { type: 'string' },
                kind: { type: 'string' },
                metadata: { type: 'object' },
                spec: structural(spec),
                ...(status ? { status: structural(status) } : {}),
              },
            },
          },
        },
      ],
    },
  }));
}

/** A schema as Kubernetes takes it: OpenAPI v3 without what structural schemas forbid. */
function structural(schema: z.ZodType): object {
  return clean(z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input' })) as object;
}

/** Keywords that say nothing to Kubernetes or that it refuses in a structural schema. */
function clean(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(clean);
  if (typeof node !== 'object' || node === null) return node;
  const result: Record<string, unknown> = {};
  const preserves = 'x-kubernetes-preserve-unknown-fields' in node;
  for (const [key, value] of Object.entries(node)) {
    if (key === '$schema' || key === 'propertyNames') continue;
    // "additionalProperties: false" would forbid the pruning that Kubernetes does anyway.
    if (key === 'additionalProperties' && (value === false || preserves)) continue;
    // zod bounds integers by what a double holds.
    if ((key === 'maximum' || key === 'minimum') && Math.abs(value as number) >= Number.MAX_SAFE_INTEGER) continue;
    result[key] = clean(value);
  }
  return result;
}
