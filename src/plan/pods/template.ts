import type { ObjectMeta } from '../../api/migration.ts';
import type { Pod } from '../../api/pod.ts';
import type { PersistentVolumeClaim } from '../../api/volume.ts';

interface PodTemplate {
  metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
  spec?: Pod['spec'];
}

/** What makes pods of a template (Deployment, StatefulSet, ReplicaSet, ReplicationController, Job, CronJob), the parts in use. */
export interface Workload {
  kind: string;
  metadata: ObjectMeta;
  spec?: {
    template?: PodTemplate;
    /** Of a CronJob. */
    jobTemplate?: { spec?: { template?: PodTemplate } };
    /** Of a StatefulSet. */
    volumeClaimTemplates?: PersistentVolumeClaim[];
  };
}

/** A pod as a workload makes it, still nobody's and without a name; undefined when there is no template. */
export function podOf({ metadata, spec }: Workload): Pod | undefined {
  const { template = spec?.jobTemplate?.spec?.template, volumeClaimTemplates = [] } = spec ?? {};
  if (!template?.spec) return undefined;
  const claims = volumeClaimTemplates.map(({ metadata: { name } }) => ({ name, persistentVolumeClaim: { claimName: name } }));
  return {
    metadata: { name: '', ...template.metadata, ...(metadata.namespace ? { namespace: metadata.namespace } : {}) },
    spec: { ...template.spec, ...(claims.length ? { volumes: [...(template.spec.volumes ?? []), ...claims] } : {}) },
  };
}
