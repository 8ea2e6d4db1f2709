import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KubeObject, Resource } from '../../../src/kube/types.ts';
import { cluster } from './cluster.ts';
import { host, kubectl, lab } from './lab.ts';
import type { Space } from './space.ts';

const persistentVolumes: Resource<KubeObject & { spec: object }> = {
  group: '',
  version: 'v1',
  plural: 'persistentvolumes',
  kind: 'PersistentVolume',
  namespaced: false,
};

/** In a StatefulSet: the claim `data`, for volumes that `useSharedVolumes` made. */
export const volumeClaimTemplates = [
  {
    metadata: { name: 'data' },
    spec: { accessModes: ['ReadWriteMany'], storageClassName: '', resources: { requests: { storage: '1Mi' } } },
  },
];

/** A volume for each of these pods' claim `data`, on a directory that all nodes see (`/lab/shared`). */
export function useSharedVolumes(space: Space, ...pods: string[]) {
  const pathOf = (pod: string) => `shared/${space.name}-${pod}`;
  const remove = () => kubectl('delete', 'pv', ...pods.map((pod) => `${space.name}-${pod}`), '--ignore-not-found');
  beforeAll(async () => {
    await remove();
    for (const pod of pods) {
      await host('rm', '-rf', join((await lab()).stateDirectory, pathOf(pod)));
      const spec = {
        accessModes: ['ReadWriteMany'],
        capacity: { storage: '1Mi' },
        claimRef: { namespace: space.name, name: `data-${pod}` },
        hostPath: { path: `/lab/${pathOf(pod)}`, type: 'DirectoryOrCreate' },
      };
      const metadata = { name: `${space.name}-${pod}` };
      await (await cluster()).create(persistentVolumes, { apiVersion: 'v1', kind: 'PersistentVolume', metadata, spec });
    }
  });
  afterAll(remove);
  return {
    /** A file on the volume of a pod, as it is now. */
    read: async (pod: string, file: string) => readFile(join((await lab()).stateDirectory, pathOf(pod), file), 'utf8'),
  };
}
