import { join } from 'node:path';

/**
 * Where the kubelet keeps a volume of type emptyDir, disk or memory (kubelet `getPodVolumeDir`, plugin name
 * `kubernetes.io/empty-dir` with its slash escaped).
 *
 * @param kubelet the kubelet's root directory, `/var/lib/kubelet`
 */
export function emptyDirPath(kubelet: string, podUid: string, volume: string): string {
  if (!/^[0-9a-f-]{36}$/.test(podUid)) throw new Error(`not the uid of a pod: ${JSON.stringify(podUid)}`);
  if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(volume)) throw new Error(`not the name of a volume: ${JSON.stringify(volume)}`);
  return join(kubelet, 'pods', podUid, 'volumes', 'kubernetes.io~empty-dir', volume);
}
