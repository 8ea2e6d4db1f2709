import type { Migration } from '../../api/migration.ts';
import { labels as labelNames } from '../../api/names.ts';
import type { Pod } from '../../api/pod.ts';
import { whyBound } from '../pods/support.ts';
import type { PreviewInput } from './preview-input.ts';
import { policyFor } from './select.ts';

/** The webhook is not asked about evictions there (manifests/base/webhook/configuration.yaml). */
export const leftAlone = new Set(['kube-system', 'podferry-system']);

/** As kubectl drain with `--ignore-daemonsets` does it; one that goes already is only waited for. */
export function whyIgnored(pod: Pod): string | undefined {
  return whyBound(pod) ?? (pod.metadata.deletionTimestamp ? 'is being deleted already' : undefined);
}

/** Why podferry has nothing to do with a pod. */
export function whyUncovered({ trigger, node, policies, namespaceLabels }: PreviewInput, pod: Pod): string {
  const { namespace = '', labels } = pod.metadata;
  const space = namespaceLabels(namespace);
  if (!space) return `namespace ${namespace} is not enabled for podferry`;
  if (labels?.[labelNames.role] !== undefined) return 'it is a helper of podferry';
  if (trigger === 'Node') return 'no policy asks for it as the node is now';
  if (leftAlone.has(namespace)) return `evictions in ${namespace} do not wait for podferry`;
  const covered = policyFor(policies, { namespace: space, labels }, { type: 'eviction' });
  if (covered) return `it has no memory to keep (${pod.status?.phase ?? 'not running'})`;
  const cordoned = { ...node, spec: { ...node.spec, unschedulable: true } };
  const other = policyFor(policies, { namespace: space, labels }, { type: 'node', node: cordoned });
  return other
    ? `no policy covers its eviction; ${other.metadata.name} moves it when the node is cordoned, which takes a moment: wait between cordon and drain`
    : 'no policy covers it';
}

/** The destination of a Migration that has not begun. */
export function whereTo({ spec: { destination } }: Migration): string {
  const labels = Object.entries(destination?.nodeSelector ?? {}).map(([key, value]) => `${key}=${value}`);
  const avoid = destination?.avoid?.length ? `, rather not ${destination.avoid.join(', ')}` : '';
  return `to a node that the scheduler chooses${labels.length ? ` with ${labels.join(',')}` : ''}${avoid}`;
}
