import type { NodeCpu, Observed, SourceRequest, SourceView, TargetRequest, TargetView } from '../../api/agent.ts';
import type { Migration, MigrationStatus } from '../../api/migration.ts';
import type { Node, Pod } from '../../api/pod.ts';
import type { LackingNodes } from '../pods/cpu.ts';
import type { Turn } from '../policy/turns.ts';

/** All that the planner looks at. What is not there yet is undefined; what cannot be known is said so. */
export interface Observation {
  /** Milliseconds since the epoch. */
  now: number;
  migration: Migration;
  /** The pod that bears the source's name now; may be another than the one that was accepted (compare uids). */
  sourcePod: Pod | undefined;
  /** The pod that bears the target's name now, once there is such a name. */
  targetPod: Pod | undefined;
  placeholder: Pod | undefined;
  /** Another Migration, not finished, that has claimed the pod (read freshly). */
  rivalMigration: string | undefined;
  /** Of a migration that a policy made: while it is Pending whether it is its turn, while it is Preparing whether the node has room for one more. */
  turn: Turn | undefined;
  /** Its share of what its policy's migrations may send together, bytes per second; undefined: no limit. */
  bytesPerSecond: number | undefined;
  /** Budgets that count the pod. Only asked with `turn`. */
  budgets: string[];
  namespaceEnabled: boolean;
  /** The namespace is being deleted: pods go, and none can be created. */
  namespaceTerminating: boolean;
  /** Why the source's owner would not have it again, for certain (only asked where it is undone); see `whyUnwanted`. */
  unwanted: string | undefined;
  /** Why the source's owner, which is there, will not ask for it again (only asked while it returns); see `whyComplete`. */
  complete: string | undefined;
  /** Undefined when the Node object was deleted: whoever does that says that the node is off. */
  sourceNode: Node | undefined;
  /** Only asked while it is Pending or Preparing; what is not known is undefined. */
  cpus: {
    /** Of the node the pod runs on. */
    source?: NodeCpu | undefined;
    /** Of the node named in the spec, or the one that was chosen. */
    destination?: NodeCpu | undefined;
    /** Nodes of the source's architecture whose CPU lacks something of the source's. */
    lacking: readonly LackingNodes[];
  };
  /** The node named in the spec, or the one that was chosen. */
  destinationNode: Node | undefined;
  /** Asked only from the phase on in which the agent has a part. */
  source: Observed<SourceView> | undefined;
  destination: Observed<TargetView> | undefined;
  /** The destination that was given up, when the pod returns to its origin. */
  failedDestination: Observed<TargetView> | undefined;
  /** Address of the destination's agent as other agents reach it, host:port. */
  destinationAddress: string | undefined;
  settings: Settings;
}

/** What the administrator set for all migrations. */
export interface Settings {
  /** An image that just waits, for the placeholder. */
  placeholderImage: string;
  /** How long an agent keeps a pod frozen without hearing from the controller. Milliseconds. */
  leaseMilliseconds: number;
}

/** One thing to do. Each can be repeated, and may be cut off at any point: the next observation shows how far it came. */
export type Action =
  | { type: 'addFinalizer' }
  | { type: 'removeFinalizer' }
  | { type: 'deleteMigration' }
  | { type: 'createPod'; pod: Pod }
  /** With a resourceVersion: just that version of it, so that what was decided on it before it changed is not done to it. */
  | { type: 'deletePod'; name: string; uid: string; gracePeriodSeconds: number; resourceVersion?: string }
  /** Takes the pod's labels off, so that its owner lets it go. */
  | { type: 'releasePod'; name: string; uid: string; resourceVersion: string; labels: string[]; add: Record<string, string> }
  /** Gives the labels back, so that its owner adopts it again. */
  | { type: 'giveBackPod'; name: string; uid: string; labels: Record<string, string>; remove: string[] }
  /** Claims the source for this migration, in just that version of the pod: of several that try one gets it. */
  | { type: 'claimPod'; name: string; uid: string; resourceVersion: string }
  /** Marks the claim as undone, so that the pod is another version from here on: what an earlier leader still does to it fails. */
  | { type: 'fencePod'; name: string; uid: string }
  | { type: 'unclaimPod'; name: string; uid: string }
  /** Takes the request that made this migration off the pod. */
  | { type: 'clearRequest'; pod: string; uid: string }
  | { type: 'setSource'; nodeName: string; request: SourceRequest }
  | { type: 'forgetSource'; nodeName: string }
  | { type: 'setTarget'; nodeName: string; request: TargetRequest }
  | { type: 'forgetTarget'; nodeName: string };

export interface EventNote {
  type: 'Normal' | 'Warning';
  reason: string;
  message: string;
  /** The pod it is about; left out: the Migration. */
  pod?: { name: string; uid: string };
}

/**
 * What comes next. `status` is written before the actions are done, so that whoever carries on after a crash knows
 * what may have been started; only what is right whether it gets written or not is done meanwhile. With nothing but a wait the planner
 * is satisfied until something changes.
 */
export interface Plan {
  status?: MigrationStatus;
  /** Done while the status is written, in no order: the pod stands still. */
  meanwhile?: Action[];
  /** One after the other. An array: at the same time, since none of them rests on another, and in no order. */
  actions: (Action | Action[])[];
  /** Wait for an agent's view to change past this revision. */
  waitFor?: { side: 'source' | 'destination'; nodeName: string; revision: number }[];
  /** Look again after this time even if nothing changes. Milliseconds. */
  requeueAfter?: number;
  events?: EventNote[];
}
