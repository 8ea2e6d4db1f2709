import { z } from 'zod';
import { specSchema, statusSchema } from './migration.ts';
import { group, version } from './names.ts';

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
  status: z.ZodType;
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
];

/** The CustomResourceDefinitions (apiextensions.k8s.io/v1) of all kinds. */
export function customResourceDefinitions() {
  return kinds.map(({ kind, plural, singular, shortNames, scope, spec, status, columns }) => ({
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
          subresources: { status: {} },
          additionalPrinterColumns: columns,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              required: ['spec'],
              properties: {
                apiVersion: { type: 'string' },
                kind: { type: 'string' },
                metadata: { type: 'object' },
                spec: structural(spec),
                status: structural(status),
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
