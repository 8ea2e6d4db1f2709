export type Kind = 'Pod' | 'Deployment' | 'ReplicaSet' | 'ReplicationController' | 'StatefulSet' | 'DaemonSet' | 'Job';

/**
 * An object of that kind with pods of this spec, which have the label `app` with its name, and these labels.
 *
 * @param fields of the object's own spec
 */
export function workload(kind: Kind, name: string, labels: Record<string, string>, spec: object, fields: object = {}) {
  const matchLabels = { app: name };
  const template = { metadata: { labels: { ...matchLabels, ...labels } }, spec };
  const replicas = 1;
  switch (kind) {
    case 'Pod':
      return { apiVersion: 'v1', kind, metadata: { name, ...template.metadata, ...fields }, spec };
    case 'ReplicationController':
      return { apiVersion: 'v1', kind, metadata: { name }, spec: { replicas, selector: matchLabels, template, ...fields } };
    case 'Job':
      return {
        apiVersion: 'batch/v1',
        kind,
        metadata: { name },
        spec: { template: { ...template, spec: { ...spec, restartPolicy: 'Never' } }, ...fields },
      };
    case 'DaemonSet':
      return { apiVersion: 'apps/v1', kind, metadata: { name }, spec: { selector: { matchLabels }, template, ...fields } };
    case 'StatefulSet':
      return {
        apiVersion: 'apps/v1',
        kind,
        metadata: { name },
        spec: { replicas, serviceName: name, podManagementPolicy: 'Parallel', selector: { matchLabels }, template, ...fields },
      };
    case 'Deployment':
    case 'ReplicaSet':
      return { apiVersion: 'apps/v1', kind, metadata: { name }, spec: { replicas, selector: { matchLabels }, template, ...fields } };
  }
}
