import type { Readable } from 'node:stream';

/** A running container as the runtime knows it. */
export interface RunningContainer {
  id: string;
  name: string;
  /** Of the init process, in the runtime's view; another one means another life of the container. */
  pid: number;
  paused: boolean;
}

/** Writes a checkpoint of a container into a directory that has an empty `checkpoint/`, in which CRIU's images grow from the beginning. */
export type WriteCheckpoint = (
  directory: string,
  signal: AbortSignal,
) => {
  /** Resolves when images are being written, or will not be. */
  begun: Promise<void>;
  /** Resolves when the checkpoint is complete. */
  whole: Promise<void>;
};

/** The runtime saw a container start. */
export interface ContainerStart {
  namespace: string;
  pod: string;
  podUid: string;
  container: string;
  /** The image its root file system is made from, as the runtime names it; for a restored container its base image. */
  image: string;
  /** RFC 3339. */
  at: string;
}

/** A restore that did not succeed. */
export interface FailedRestore extends Omit<ContainerStart, 'at'> {
  /** What CRIU wrote down about it. */
  log: string;
}

export interface StoredContent {
  digest: string;
  size: number;
  mediaType?: string;
}

/**
 * What podferry needs of a container runtime, beside the kubelet's checkpoint API. Run with containerd (`containerd/`).
 *
 * CRI-O (read in its code, not run): it has no API to pause from outside, refuses to checkpoint a container that it
 * knows as paused and unpauses after its own checkpoint; there the pod's cgroup has to be frozen instead
 * (`cgroup.freeze` of the pod's parent, cgroup v2), and the base image has to be in its store before the restore.
 * CheckpointPod and RestorePod of KEP-5823 fit here too: one call in the place of pause, checkpoint and resume.
 */
export interface Runtime {
  /** The containers of a pod that have a live task, sidecars included, the sandbox not. */
  containersOf(podUid: string, signal: AbortSignal): Promise<RunningContainer[]>;
  /** The init process of a container, for who looks often and knows the container; undefined when it has none that lives. */
  processOf(id: string, signal: AbortSignal): Promise<Pick<RunningContainer, 'pid' | 'paused'> | undefined>;
  /** uid of the newest sandbox of the pod with that name, or undefined. */
  podUidOf(namespace: string, pod: string, signal: AbortSignal): Promise<string | undefined>;
  /** Whether any container, or the sandbox, of a pod of that name has a live task. */
  isAlive(namespace: string, pod: string, signal: AbortSignal): Promise<boolean>;
  /**
   * About what CRIU would write of the container's memory, bytes: anonymous and shared memory as its cgroup counts them now,
   * page cache not. Files in tmpfs count where the container wrote them; what is swapped out does not. Undefined when the runtime
   * cannot say.
   *
   * @throws Error when the runtime does not answer
   */
  memoryOf(id: string, signal: AbortSignal): Promise<number | undefined>;
  /** Stops every process of the container; nothing happens to one that is paused already. */
  pause(id: string, signal: AbortSignal): Promise<void>;
  /**
   * Runs a checkpoint of the container while the runtime knows the container's image by the name that the container was
   * made with. An image has as many names as pods called it by, and the one a container got may be removed while it runs.
   */
  withImageOf<T>(id: string, checkpoint: () => Promise<T>): Promise<T>;
  /**
   * Gets ready to write a checkpoint of the container, laid out as the kubelet's archive is, for runtimes that can do so with
   * fewer copies than by the kubelet. The container need not be paused for that; nothing is left behind when it is not written.
   */
  prepareCheckpoint?(id: string, signal: AbortSignal): Promise<WriteCheckpoint>;
  /** Writes CRIU's images of a container that runs on; it stands still for no longer than that takes. They may be read while they grow. */
  checkpointMemory?(id: string, directory: string, signal: AbortSignal): Promise<void>;
  /** Lets it go on, also while the runtime itself is away; nothing happens to one that runs or is gone. */
  resume(id: string, signal: AbortSignal): Promise<void>;
  /** The starts of containers from now on, until the signal aborts; ends with an error when the runtime goes away. */
  starts(signal: AbortSignal): AsyncIterable<ContainerStart>;
  /** Starts that already happened, of containers that still exist. */
  started(namespace: string, pod: string, signal: AbortSignal): Promise<ContainerStart[]>;
  /** Everything an image by digest consists of, as far as it is in the runtime's store on this node. */
  imageContent(digest: string, signal: AbortSignal): Promise<{ content: StoredContent[]; missing: string[] }>;
  /** Content by digest from the runtime's store. */
  readContent(digest: string, offset: number, length: number, signal: AbortSignal): Readable;
  /** Has the runtime pull an image, without credentials, as it does for the kubelet. @throws Error when it cannot be had */
  pullImage(reference: string, signal: AbortSignal): Promise<void>;
  /**
   * Removes images from the runtime's store: those of a digest (under whatever names), or those whose names begin so.
   * Containers that run are not touched, and content that another image has stays.
   */
  removeImages(which: { digest: string } | { prefix: string }, signal: AbortSignal): Promise<void>;
  /**
   * Restores that fail from now on, until the signal aborts. They are only looked for while some are `wanted`.
   *
   * @throws Error when they cannot be seen on this node
   */
  failedRestores(wanted: () => boolean, signal: AbortSignal): AsyncIterable<FailedRestore>;
  /** What the runtime wrote down about a checkpoint that failed. */
  criuLog(containerId: string): Promise<string | undefined>;
  close(): void;
}
