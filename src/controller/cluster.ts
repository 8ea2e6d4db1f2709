import type { Migration } from '../api/migration.ts';
import type { KubeClient } from '../kube/client.ts';
import { KubeError } from '../kube/errors.ts';
import { migrations, pods } from '../kube/resources.ts';
import type { ClusterPorts } from './act.ts';
import type { ObservePorts } from './observe.ts';

export interface Cluster extends ClusterPorts, Pick<ObservePorts, 'getOwner' | 'podsOf'> {
  createMigration(migration: Migration, signal: AbortSignal): Promise<void>;
  /** Deletes it only as it was looked at; a conflict when it has changed since. */
  withdrawMigration(migration: Migration, signal: AbortSignal): Promise<void>;
}

/** The actions on the API server; each finds it right when what it wants is so already. */
export function clusterOf(client: KubeClient): Cluster {
  const inNamespace = (object: { metadata: { namespace?: string; name: string } }) => ({
    namespace: object.metadata.namespace,
    name: object.metadata.name,
  });
  return {
    async getOwner(namespace, { apiVersion, kind, name }, signal) {
      const slash = apiVersion.indexOf('/');
      const [group, version] = slash < 0 ? ['', apiVersion] : [apiVersion.slice(0, slash), apiVersion.slice(slash + 1)];
      const resource = { group, version, kind, plural: `${kind.toLowerCase()}s`, namespaced: true };
      return client.find(resource, { namespace, name }, { signal });
    },
    async podsOf(namespace, signal) {
      return (await client.list(pods, { namespace, signal })).items;
    },
    async createMigration(migration, signal) {
      await unless('isAlreadyExists', client.create(migrations, migration, { signal }));
    },
    async createPod(namespace, pod, signal) {
      await unless('isAlreadyExists', client.create(pods, { ...pod, metadata: { ...pod.metadata, namespace } }, { signal }));
    },
    async deletePod(namespace, { name, uid, resourceVersion, gracePeriodSeconds }, signal) {
      // A conflict: the pod of that name is another one by now, or another version of it; the next look decides anew.
      await unlessGone(client.delete(pods, { namespace, name }, { preconditions: { uid, resourceVersion }, gracePeriodSeconds, signal }));
    },
    async patchPod(namespace, name, uid, metadata, signal) {
      await unlessGone(client.patch(pods, { namespace, name }, { type: 'merge', body: { metadata: { ...metadata, uid } } }, { signal }));
    },
    async claimPod(namespace, name, metadata, signal) {
      await client.patch(pods, { namespace, name }, { type: 'merge', body: { metadata } }, { signal });
    },
    async patchMigration(migration, metadata, signal) {
      const { uid, resourceVersion } = migration.metadata;
      // Finalizers are a list that a merge patch replaces: only in the version that was looked at.
      const body = { metadata: { ...metadata, uid, resourceVersion } };
      await unless('isNotFound', client.patch(migrations, inNamespace(migration), { type: 'merge', body }, { signal }));
    },
    async withdrawMigration(migration, signal) {
      const { uid, resourceVersion } = migration.metadata;
      await unless('isNotFound', client.delete(migrations, inNamespace(migration), { preconditions: { uid, resourceVersion }, signal }));
    },
    async deleteMigration(migration, signal) {
      await unlessGone(client.delete(migrations, inNamespace(migration), { preconditions: { uid: migration.metadata.uid }, signal }));
    },
  };
}

async function unless(expected: 'isAlreadyExists' | 'isNotFound', call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof KubeError && error[expected])) throw error;
  }
}

async function unlessGone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof KubeError && (error.isNotFound || error.isConflict))) throw error;
  }
}
