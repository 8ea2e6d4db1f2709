/** By whom a container is checkpointed: the runtime into one directory, where it can, or the kubelet's API always. */
export type CheckpointWay = 'runtime' | 'kubelet';

/** A pod's checkpoint before it is made. */
export interface PlannedCheckpoint {
  /** Of all its containers, bytes; an estimate. */
  memory: number;
  way: CheckpointWay;
  /** The memory lies beside the archive on the destination (`TargetView.contentDirectory`) and is restored from there. */
  beside: boolean;
}

/** A node, as far as checkpoints lie on it. */
export interface NodeDisk {
  name: string;
  /** Bytes; undefined: not known, and not checked then. */
  free: number | undefined;
}

/** What stays free on a disk, for all else that writes there. Bytes. */
export const reserve = 256 << 20;

/** What a checkpoint has beside the memory: page maps, the changed files of its layer as a rule, the log. */
const overhead = (memory: number) => memory / 32 + (16 << 20);

/**
 * How often the memory lies on a disk at most. The kubelet's way: CRIU's images, the runtime's content, the archive. An
 * archive with the memory in it, on the destination: as received, as pulled by the runtime, and unpacked for CRIU.
 */
const copies = { one: 1, several: 3 } as const;

/** What a checkpoint takes of each node's disk at most. Bytes. */
export function diskNeeded({ memory, way, beside }: PlannedCheckpoint): { source: number; destination: number } {
  const once = memory + overhead(memory);
  return {
    source: once * (way === 'runtime' ? copies.one : copies.several),
    destination: once * (beside ? copies.one : copies.several),
  };
}

/** Why it does not fit; undefined when it does. Bytes. */
export function lackOfRoom(need: number, free: number): string | undefined {
  if (need + reserve <= free) return undefined;
  return `about ${inWords(need)} are needed and ${inWords(reserve)} have to stay free, but only ${inWords(free)} are free`;
}

/**
 * Why a pod is better not frozen: its checkpoint would not fit on a node's disk. For people; undefined when it fits, as far as
 * is known.
 *
 * @param pod `NAMESPACE/NAME`
 */
export function refuseRoom(pod: string, checkpoint: PlannedCheckpoint, source: NodeDisk, destination: NodeDisk): string | undefined {
  const need = diskNeeded(checkpoint);
  const containerd = '/var/lib/containerd';
  const sides = [
    {
      ...source,
      need: need.source,
      paths: checkpoint.way === 'runtime' ? ['/var/lib/podferry'] : ['/var/lib/kubelet', containerd],
      cure: 'migrate again',
    },
    {
      ...destination,
      need: need.destination,
      paths: checkpoint.beside ? ['/var/lib/podferry'] : ['/var/lib/podferry', containerd],
      cure: 'migrate again, or choose another destination',
    },
  ];
  for (const { name, free, need, paths, cure } of sides) {
    const lack = free === undefined ? undefined : lackOfRoom(need, free);
    if (lack)
      return `pod ${pod} was not frozen and runs on, since its checkpoint does not fit on ${name}: ${lack}. Make room there under ${paths.join(' and ')} and ${cure}`;
  }
  return undefined;
}

function inWords(bytes: number): string {
  const mebibytes = bytes / 2 ** 20;
  return mebibytes < 1024 ? `${Math.round(mebibytes)} MiB` : `${(mebibytes / 1024).toFixed(1)} GiB`;
}
