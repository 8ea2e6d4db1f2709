import { group, labels } from '../api/names.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';
import { disruptionBudgets, type Migration, migrationPolicies, migrations, namespaces, nodes, type Pod, pods } from '../kube/resources.ts';

/** By what objects are found: Migrations by their pods, their uid and the node of their target, agents by their node. */
export const indexes = { pod: 'pod', node: 'node', uid: 'uid', target: 'target' } as const;

export type Caches = ReturnType<typeof openCaches>;

/** What the controller follows of the cluster; nothing is read yet. */
export function openCaches(client: KubeClient, onError: (error: unknown) => void) {
  return {
    migrations: new Informer(client, migrations, {
      onError,
      indexers: {
        [indexes.pod]: podsOf,
        [indexes.uid]: ({ metadata }) => [metadata.uid ?? ''],
        [indexes.target]: ({ status }) => (status?.target?.nodeName ? [status.target.nodeName] : []),
      },
    }),
    pods: new Informer(client, pods, { onError, transform: whatMatters, indexers: { [indexes.node]: agentNodeOf } }),
    nodes: new Informer(client, nodes, { onError }),
    namespaces: new Informer(client, namespaces, { onError }),
    policies: new Informer(client, migrationPolicies, { onError }),
    budgets: new Informer(client, disruptionBudgets, { onError }),
  };
}

/** Labels of a namespace that is enabled for podferry; undefined of others. */
export function enabledLabels({ namespaces: spaces }: Pick<Caches, 'namespaces'>, name: string): Record<string, string> | undefined {
  const given = spaces.get(name)?.metadata.labels;
  return given?.[labels.enabled] === 'true' ? given : undefined;
}

/** The pods that a Migration looks at, as `namespace/name`. */
export function podsOf({ metadata, spec, status }: Migration): string[] {
  const names = [spec.pod, status?.target?.name, status?.placeholder].filter((name) => name !== undefined);
  return [...new Set(names)].map((name) => `${metadata.namespace}/${name}`);
}

/** The node of an agent's pod; none for all other pods. */
function agentNodeOf(pod: Pod): string[] {
  const isAgent = pod.metadata.labels?.[labels.component] === 'agent' && pod.metadata.labels['podferry.io/app'] === 'podferry';
  return isAgent && pod.spec.nodeName ? [pod.spec.nodeName] : [];
}

/** Of all pods of the cluster only what wakes a migration up or finds an agent is kept; decisions read pods afresh. */
export function whatMatters(pod: Pod): Pod {
  const { name, namespace, uid, resourceVersion, annotations, deletionTimestamp, labels: podLabels } = pod.metadata;
  const own = Object.entries(annotations ?? {}).filter(([key]) => key.startsWith(`${group}/`));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      ...(namespace ? { namespace } : {}),
      ...(uid ? { uid } : {}),
      ...(resourceVersion ? { resourceVersion } : {}),
      ...(deletionTimestamp ? { deletionTimestamp } : {}),
      ...(podLabels?.[labels.component] ? { labels: podLabels } : {}),
      ...(own.length ? { annotations: Object.fromEntries(own) } : {}),
    },
    spec: { containers: [], ...(pod.spec.nodeName ? { nodeName: pod.spec.nodeName } : {}) },
    status: {
      ...(pod.status?.podIP ? { podIP: pod.status.podIP } : {}),
      conditions: pod.status?.conditions?.filter((condition) => condition.type === 'Ready') ?? [],
    },
  };
}
