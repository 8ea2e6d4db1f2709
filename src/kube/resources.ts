import type {
  EventsV1Event,
  V1ConfigMap,
  V1CustomResourceDefinition,
  V1Lease,
  V1MutatingWebhookConfiguration,
  V1Namespace,
  V1PodDisruptionBudget,
  V1Secret,
  V1ValidatingWebhookConfiguration,
} from '@kubernetes/client-node';
import type { Migration, ObjectMeta } from '../api/migration.ts';
import { group as podferryGroup, version as podferryVersion } from '../api/names.ts';
import type { Node, Pod } from '../api/pod.ts';
import type { MigrationPolicy } from '../api/policy.ts';
import type { MigrationPreview } from '../api/preview.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../api/volume.ts';
import type { KubeObject, Resource, Stored } from './types.ts';

export type Namespace = Stored<V1Namespace>;
export type ConfigMap = Stored<V1ConfigMap>;
export type Secret = Stored<V1Secret>;
export type Lease = Stored<V1Lease>;
export type PodDisruptionBudget = Stored<V1PodDisruptionBudget>;
export type KubeEvent = Stored<EventsV1Event>;
export type MutatingWebhookConfiguration = Stored<V1MutatingWebhookConfiguration>;
export type ValidatingWebhookConfiguration = Stored<V1ValidatingWebhookConfiguration>;
export type CustomResourceDefinition = Stored<V1CustomResourceDefinition>;

function resource<T extends KubeObject>(group: string, version: string, plural: string, kind: string, namespaced: boolean): Resource<T> {
  return { group, version, plural, kind, namespaced };
}

export const pods = resource<Pod & KubeObject>('', 'v1', 'pods', 'Pod', true);
export const nodes = resource<Node & KubeObject>('', 'v1', 'nodes', 'Node', false);
export const namespaces = resource<Namespace>('', 'v1', 'namespaces', 'Namespace', false);
export const volumeClaims = resource<PersistentVolumeClaim & KubeObject>('', 'v1', 'persistentvolumeclaims', 'PersistentVolumeClaim', true);
export const volumes = resource<PersistentVolume & KubeObject>('', 'v1', 'persistentvolumes', 'PersistentVolume', false);
export const configMaps = resource<ConfigMap>('', 'v1', 'configmaps', 'ConfigMap', true);
export const secrets = resource<Secret>('', 'v1', 'secrets', 'Secret', true);
export const leases = resource<Lease>('coordination.k8s.io', 'v1', 'leases', 'Lease', true);
export const events = resource<KubeEvent>('events.k8s.io', 'v1', 'events', 'Event', true);
export const mutatingWebhookConfigurations = resource<MutatingWebhookConfiguration>(
  'admissionregistration.k8s.io',
  'v1',
  'mutatingwebhookconfigurations',
  'MutatingWebhookConfiguration',
  false,
);
export const validatingWebhookConfigurations = resource<ValidatingWebhookConfiguration>(
  'admissionregistration.k8s.io',
  'v1',
  'validatingwebhookconfigurations',
  'ValidatingWebhookConfiguration',
  false,
);
export const customResourceDefinitions = resource<CustomResourceDefinition>(
  'apiextensions.k8s.io',
  'v1',
  'customresourcedefinitions',
  'CustomResourceDefinition',
  false,
);
export const migrationPolicies = resource<MigrationPolicy>(podferryGroup, podferryVersion, 'migrationpolicies', 'MigrationPolicy', false);
export const migrationPreviews = resource<MigrationPreview>(podferryGroup, podferryVersion, 'migrationpreviews', 'MigrationPreview', false);
export const disruptionBudgets = resource<PodDisruptionBudget>('policy', 'v1', 'poddisruptionbudgets', 'PodDisruptionBudget', true);
export const migrations = resource<Migration>(podferryGroup, podferryVersion, 'migrations', 'Migration', true);

export type { Migration, MigrationPolicy, MigrationPreview, Node, ObjectMeta, Pod };
