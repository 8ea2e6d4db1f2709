import { labels } from '../api/names.ts';
import type { PreviewTrigger } from '../api/preview.ts';
import type { KubeClient, ListOptions } from '../kube/client.ts';
import { KubeError } from '../kube/errors.ts';
import { disruptionBudgets, migrationPolicies, migrations, namespaces, nodes, pods } from '../kube/resources.ts';
import type { KubeObject, Resource } from '../kube/types.ts';
import type { PreviewInput } from '../plan/policy/preview-input.ts';

/**
 * All that a preview of a node needs: one read of the node and one list each of its pods, policies, Migrations, enabled
 * namespaces and disruption budgets.
 *
 * @throws Error in one sentence for people
 */
export async function gather(client: KubeClient, nodeName: string, trigger: PreviewTrigger, now: number): Promise<PreviewInput> {
  const list = async <T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<T[]> => {
    try {
      return (await client.list(resource, options)).items;
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound && resource.group === migrations.group)
        throw new Error(`podferry is not installed in the cluster of ${client.server}: it has no ${resource.plural}.${resource.group}`);
      throw error;
    }
  };
  const [node, itsPods, policies, all, spaces, budgets] = await Promise.all([
    client.find(nodes, { name: nodeName }),
    list(pods, { fieldSelector: `spec.nodeName=${nodeName}` }),
    list(migrationPolicies),
    list(migrations),
    list(namespaces, { labelSelector: `${labels.enabled}=true` }),
    list(disruptionBudgets),
  ]);
  if (!node) throw new Error(`there is no node ${nodeName} in the cluster of ${client.server}`);
  const enabled = new Map(spaces.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]));
  return { now, trigger, node, pods: itsPods, policies, migrations: all, budgets, namespaceLabels: (name) => enabled.get(name) };
}
