import { kubectl, onNode } from '../../cluster/support/lab.ts';
import type { Fault } from '../fault.ts';

/** kill -9 of the counter itself on a node, as the OOM killer does it. */
const killCounter = (node: string) => onNode(node, 'pkill', '-KILL', '-x', 'counter').then(() => undefined);

const denied = {
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingAdmissionPolicy',
  metadata: { name: 'faults-deny' },
  spec: {
    failurePolicy: 'Fail',
    matchConstraints: { resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }] },
    validations: [
      {
        expression: "!has(object.metadata.labels) || !('app' in object.metadata.labels) || object.metadata.labels['app'] != 'counter'",
        message: 'not today',
      },
    ],
  },
};
const binding = {
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingAdmissionPolicyBinding',
  metadata: { name: 'faults-deny' },
  spec: {
    policyName: 'faults-deny',
    validationActions: ['Deny'],
    matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'faults' } } },
  },
};

async function apply(...objects: object[]): Promise<void> {
  await onNode(
    'control',
    'sh',
    '-ec',
    `cat >/tmp/faults.json <<'X'\n${JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })}\nX`,
  );
  await onNode('control', 'kubectl', '--kubeconfig=/lab/pki/admin.kubeconfig', 'apply', '-f', '/tmp/faults.json');
}

export const people: Fault[] = [
  {
    name: 'the process of the source is killed while it runs',
    at: 'Preparing',
    inject: ({ source }) => killCounter(source),
    expected: 'fresh',
  },
  // A frozen process dies when it is let go; its memory lies in the archive by then, or it is lost as without podferry.
  {
    name: 'the frozen process of the source is killed',
    at: 'Checkpointing',
    inject: ({ source }) => killCounter(source),
    expected: 'fresh',
  },
  { name: 'the frozen process of the source is killed', at: 'Restoring', inject: ({ source }) => killCounter(source), expected: 'memory' },
  {
    name: 'the process of the target is killed before the commit',
    at: 'Restoring',
    inject: ({ destination }) => killCounter(destination).catch(() => undefined),
    expected: 'fresh',
  },
  {
    name: 'a quota refuses the target',
    at: 'Checkpointing',
    inject: async ({ space }) => {
      await kubectl('-n', space.name, 'create', 'quota', 'none', '--hard=pods=0');
    },
    heal: async ({ space }) => {
      await kubectl('-n', space.name, 'delete', 'quota', 'none', '--ignore-not-found');
    },
    lasts: 25_000,
    timeouts: { switchSeconds: 15 },
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: "another's policy denies the target",
    at: 'Preparing',
    inject: () => apply(denied, binding),
    heal: async () => {
      await kubectl(
        'delete',
        'validatingadmissionpolicybinding/faults-deny',
        'validatingadmissionpolicy/faults-deny',
        '--ignore-not-found',
      );
    },
    lasts: 25_000,
    timeouts: { switchSeconds: 15 },
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: 'somebody deletes the target',
    at: 'Restoring',
    inject: async ({ space, migration }) => {
      const name = await kubectl('-n', space.name, 'get', 'mig', migration.metadata.name, '-o', 'jsonpath={.status.target.name}');
      await kubectl('-n', space.name, 'delete', 'pod', name, '--wait=false');
    },
    expected: 'fresh',
  },
  {
    name: 'somebody deletes the source',
    at: 'Shipping',
    inject: async ({ space, pod }) => {
      await kubectl('-n', space.name, 'delete', 'pod', pod.metadata.name, '--wait=false');
    },
    kinds: ['Deployment', 'StatefulSet'],
    expected: 'fresh',
  },
  {
    name: 'somebody deletes the source',
    at: 'Shipping',
    inject: async ({ space, pod }) => {
      await kubectl('-n', space.name, 'delete', 'pod', pod.metadata.name, '--wait=false');
    },
    kinds: ['Pod'],
    expected: 'gone',
  },
  ...(['Preparing', 'Checkpointing', 'Switching', 'Restoring', 'CleaningUp'] as const).map(
    (at): Fault => ({
      name: 'somebody deletes the Migration',
      at,
      inject: async ({ space, migration }) => {
        await kubectl('-n', space.name, 'delete', 'mig', migration.metadata.name, '--wait=false');
      },
    }),
  ),
  ...(['Shipping', 'Restoring'] as const).map(
    (at): Fault => ({
      name: 'somebody deletes the owner',
      at,
      kinds: ['Deployment', 'StatefulSet'],
      inject: async ({ space, kind }) => {
        await kubectl('-n', space.name, 'delete', kind.toLowerCase(), 'counter', '--wait=false');
      },
      expected: 'gone',
    }),
  ),
  ...(['Shipping', 'Switching', 'Restoring'] as const).map(
    (at): Fault => ({
      name: 'somebody deletes the namespace',
      at,
      inject: async ({ space }) => {
        await kubectl('delete', 'namespace', space.name, '--wait=false');
      },
      expected: 'gone',
    }),
  ),
  {
    name: 'the Deployment is scaled to zero',
    at: 'Restoring',
    kinds: ['Deployment', 'StatefulSet'],
    inject: async ({ space, kind }) => {
      await kubectl('-n', space.name, 'scale', kind.toLowerCase(), 'counter', '--replicas=0');
    },
    expected: 'gone',
  },
];
