import type { Transfer } from './migration.ts';

/**
 * What the controller and a node's agent tell each other. The controller sets a goal (idempotent, may be repeated at
 * any time); the agent works towards it, keeps on disk what it must not forget, and shows a view. A view's `revision`
 * grows with every change, so that the controller can wait for the next one instead of polling.
 */

/**
 * Where the source's agent is to get to; `Held` includes `Shipped`. `Returned`: the pod is gone and its target failed, so
 * the archives are shipped once more, to this very node's agent.
 */
export type SourceGoal = 'Shipped' | 'Held' | 'Resumed' | 'Returned';

/** The source pod as its agent sees it. `Unknown`: no record of this migration on this node. `Resuming` ends in `Running`. */
export type SourceState = 'Unknown' | 'Running' | 'Resuming' | 'Freezing' | 'Frozen' | 'Checkpointed' | 'Shipped' | 'Held';

export interface SourceRequest {
  goal: SourceGoal;
  namespace: string;
  pod: string;
  podUid: string;
  /** The node that it runs on, for messages. */
  nodeName?: string;
  /** Without another request the agent resumes the pod after this time, unless it holds. Milliseconds. */
  leaseMilliseconds: number;
  /** A pod that is not held is resumed after so long a freeze, whatever else: a liveness probe would kill it. Milliseconds. */
  budgetMilliseconds?: number;
  transfer: Transfer;
  containers: {
    name: string;
    /** What the archive is to name as its base image (`rootfsImageRef` of config.dump). */
    rootfsImageRef: string;
  }[];
  /** What freezing, checkpointing and shipping may take together, with what is sent ahead; the controller ends it then. Milliseconds. */
  freezeMilliseconds?: number;
  /** How often its memory may be sent ahead while it runs; left out: as often as it pays. */
  warmRounds?: number;
  /** The pod's volumes of type emptyDir; their content travels with it. */
  volumes: string[];
  /** Keep a copy of the volumes: the pod, and they with it, will be deleted before the target runs. */
  keepVolumes: boolean;
  /** What the archives and volumes together may take of the network, bytes per second; may change on the way. Left out: no limit. */
  bytesPerSecond?: number;
  /** Where the archives go. */
  destination: {
    address: string;
    repository: string;
    /** From the destination's view (see there); without it the memory travels inside of the archive. */
    contentDirectory?: string;
    /** From the destination's view (see there). */
    memoryPort?: number;
    /** For messages. */
    nodeName?: string;
    /** From the destination's view; left out: its disk is not checked before the freeze. */
    freeBytes?: number;
  };
}

/** `room`: before the freeze, a disk was found too small for the checkpoint. */
export type SourceErrorStep = 'room' | 'freeze' | 'checkpoint' | 'ship' | 'lease';

export interface SourceView {
  revision: number;
  state: SourceState;
  /** The processes of a held pod ended although nobody of podferry ended them; only the archives hold its state. */
  lost?: string;
  /** The archives are on their way to this node's own agent. */
  returning?: boolean;
  /** Why the last try at that failed; there until one succeeds. */
  returnFailure?: string;
  /** When the last container was paused. RFC 3339, this node's clock. */
  frozenAt?: string;
  /** When all containers were checkpointed. RFC 3339, this node's clock. Left out by agents that do not tell. */
  checkpointedAt?: string;
  /** Memory that was sent ahead of the freeze so far, while the pod runs; there while that goes on. Bytes. */
  aheadBytes?: number;
  /** What is left of the lease of the freeze, while there is one. Milliseconds, and not a time: clocks of nodes differ. */
  leaseLeft?: number;
  /** The limit that holds now, bytes per second; null: none. Left out by an agent that knows of no limits. */
  bytesPerSecond?: number | null;
  /** What went wrong; the pod was resumed, unless `state` says otherwise. */
  error?: { step: SourceErrorStep; message: string };
  containers: {
    name: string;
    archiveBytes?: number;
    bytesSent: number;
    /** Sent ahead of it while it ran, by round. Bytes. */
    warmBytes?: number[];
    digest?: string;
  }[];
}

/** Where the destination's agent is to get to. `Complete` is asked for with the transfer Registry only: fetch what the source pushed. */
export type TargetGoal = 'Prepared' | 'Complete' | 'Serving' | 'Revoked' | 'Committed';

/** `Fetching`: from the registry (transfer Registry); shown, never written down. */
export type TargetState = 'Unknown' | 'Prepared' | 'Fetching' | 'Complete' | 'Serving' | 'Revoked' | 'Committed';

export interface TargetRequest {
  goal: TargetGoal;
  namespace: string;
  /** Name of the target pod; known from the switch on. */
  pod?: string;
  transfer: Transfer;
  containers: { name: string; baseImage: string }[];
  volumes: string[];
}

export interface TargetView {
  revision: number;
  state: TargetState;
  /** Unguessable; the source pushes here and the kubelet pulls from here. */
  repository?: string;
  /**
   * Where what is pushed will lie on this node, as the runtime sees it, by the hexadecimal digits of its sha256: memory
   * that an archive only names by such a path is found there by a restore.
   */
  contentDirectory?: string;
  /** Where memory beside an archive is pushed to, at the address of this agent; left out: to where all else is. */
  memoryPort?: number;
  /**
   * What is free on this node's disk for what is pushed, bytes; as of this answer, and no reason for a new revision. Left out
   * when it cannot be told, and by agents that do not.
   */
  freeBytes?: number;
  containers: {
    name: string;
    /** Base image as served on this node's loopback, by digest. */
    rootfsImageRef: string;
    checkpointImage: string;
    /** Digest of the checkpoint image, once it is here whole. */
    digest?: string;
    /** When the runtime started the container. RFC 3339, this node's clock. */
    startedAt?: string;
    /** uid of the pod it started in. */
    startedBy?: string;
    /** What CRIU wrote down when it could not be restored. */
    restoreFailure?: string;
  }[];
  /** While `Revoked`: whether anything of a pod of the target's name still runs on this node, whatever the API server says. */
  live?: boolean;
  error?: { message: string };
}

/** All that an agent remembers, by the uid of the Migration; so that what nobody needs any more can be found. */
export interface AgentRecords {
  sources: { uid: string; state: SourceState }[];
  targets: { uid: string; state: TargetState }[];
}

/** A node's CPU as its kernel shows it. */
export interface NodeCpu {
  /** As Kubernetes and Go name it: `amd64`, `arm64`, … */
  architecture: string;
  /** `GenuineIntel`, `AuthenticAMD`, …; empty where the kernel does not say. */
  vendor: string;
  /** What all of its processors have, in the words of /proc/cpuinfo. */
  features: string[];
}

/** What the planner knows of an agent right now. */
export type Observed<View> = { reachable: true; view: View } | { reachable: false; message: string };

/** The names in the certificates of podferry's own processes (src/kube/certificates.ts). */
export const tlsNames = { agent: 'agent.podferry.internal', controller: 'controller.podferry.internal' } as const;
