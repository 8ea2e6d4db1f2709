/**
 * The whole world of the model as plain immutable data. Every number is small and every list sorted, so that two
 * histories that lead to the same situation give the same text, and the search sees it once.
 */

export type Node = 'a' | 'b';

/** Node a is the origin, node b the destination. */
export const origin: Node = 'a';
export const destination: Node = 'b';

export interface NodeState {
  /** The Node object exists; whoever deletes it says that the node is off. */
  readonly object: boolean;
  readonly power: boolean;
  /** The API server, the controller and the other node reach it. */
  readonly net: boolean;
  /** Podferry's agent runs there. */
  readonly agent: boolean;
}

export type SourcePhase = 'Freezing' | 'Frozen' | 'Checkpointed' | 'Shipped' | 'Held' | 'Resuming' | 'Running';

/** A source agent's record (src/agent/source.ts); durable, except where said otherwise. */
export interface SourceRecord {
  readonly st: SourcePhase;
  readonly uid: string;
  readonly error: '' | 'freeze' | 'checkpoint' | 'ship' | 'lease';
  readonly archive: boolean;
  /** The processes of a held pod ended by themselves, and the agent has seen it. */
  readonly lost: boolean;
  /** The archives were pushed, and that is not written down yet (in memory only). */
  readonly pushed: boolean;
  /** Repository at the destination. */
  readonly token: string;
  /** Repository of a return that is under way (in memory only). */
  readonly returning: string;
}

/** A target agent's record (src/agent/target.ts); durable. */
export interface TargetRecord {
  readonly st: 'Prepared' | 'Complete' | 'Serving' | 'Revoked' | 'Committed';
  readonly token: string;
  /** Name of the target pod, once it was told. */
  readonly pod: string;
  readonly served: boolean;
  /** uid of the pod that was handed the checkpoint first; empty: none yet. */
  readonly servedTo: string;
  /** uid of the pod whose start the agent saw; empty: none yet. */
  readonly started: string;
}

/** A controller between its steps: what it planned, and how far it came. */
export interface Work {
  readonly plan: number;
  readonly stage: 'write' | 'act';
  readonly next: number;
  /** Nobody changed the Migration since it was read: a write of its status would not conflict. */
  readonly fresh: boolean;
}

/** A look at the cluster of which only the first half is done; see `looksApart`. */
export interface Look {
  readonly status: number;
  readonly del: MigrationState['del'];
  readonly late: boolean;
  readonly pods: readonly PodState[];
  readonly fresh: boolean;
}

export interface MigrationState {
  /** Interned status (see intern.ts). */
  readonly status: number;
  readonly finalizer: boolean;
  /** 0: not deleted. 1: deleted before the present Stalled condition, 2: deleted after that was there to be read. */
  readonly del: 0 | 1 | 2;
  /** The object is gone. */
  readonly gone: boolean;
  /** The deadline of the present phase is over. */
  readonly late: boolean;
  readonly source: SourceRecord | null;
  /** The source's agent was told to forget, and remembers that it was. */
  readonly forgotten: boolean;
  readonly targets: { readonly a: TargetRecord | null; readonly b: TargetRecord | null };
  readonly look: Look | null;
  readonly work: Work | null;
  /** A controller that no longer leads, with what it had in hand. */
  readonly ghost: Work | null;
  /** The commit was written. For the invariants; nobody in the model looks at it. */
  readonly committed: boolean;
  /** uid of the pod in which the checkpoint ran last. For the invariants. */
  readonly ran: string;
  /** No restore of this checkpoint will ever succeed. */
  readonly bad: boolean;
}

export interface PodState {
  readonly uid: string;
  readonly name: string;
  readonly node: Node;
  readonly kind: 'source' | 'target' | 'fresh' | 'placeholder';
  /** The migration that it is the source or target or placeholder of; -1: none. */
  readonly m: number;
  /** Has the owner's reference. */
  readonly owned: boolean;
  /** Its labels are off. */
  readonly released: boolean;
  readonly deleting: boolean;
  /** The migration that has claimed it; -1: none. */
  readonly claim: number;
  /** The claim is marked as undone. */
  readonly fenced: boolean;
  readonly st: 'pending' | 'pullfail' | 'restorefail' | 'running';
  /** Repository of the checkpoint image; empty: the base image. */
  readonly token: string;
  readonly restarted: boolean;
  /** 2: Ready all along, 1: Ready again, 0: not Ready. */
  readonly ready: 0 | 1 | 2;
}

/** Processes of a pod on a node. */
export interface Process {
  readonly uid: string;
  readonly name: string;
  readonly node: Node;
  /** Whose memory: the source's own, that of its checkpoint, or that of a fresh start. */
  readonly mem: 'src' | 'cp' | 'base';
  readonly m: number;
  /** `pulled`: the kubelet has the image and has not started it yet. */
  readonly st: 'run' | 'paused' | 'pulled';
  /** Repository that its image names; empty: the base image. */
  readonly token: string;
  /** The same, if the node's agent was serving it for this pod's name when the container started. */
  readonly during: string;
}

export interface CreateCall {
  readonly id: string;
  readonly by: 'owner' | 'controller' | 'user';
  /** The migration it is made for (controller, user); -1: none. */
  readonly m: number;
  /** Name that is asked for; empty: generated. */
  readonly name: string;
  /** The pod that will be created, once the webhook has answered. */
  readonly pod: PodState | null;
}

export type OwnerKind = 'ReplicaSet' | 'StatefulSet' | 'none' | 'user';

export interface World {
  readonly migs: readonly MigrationState[];
  readonly pods: readonly PodState[];
  readonly procs: readonly Process[];
  readonly nodes: { readonly a: NodeState; readonly b: NodeState };
  readonly owner: { readonly kind: OwnerKind; readonly gone: boolean; readonly refused: boolean };
  readonly calls: readonly CreateCall[];
  /** Faults that may still happen. */
  readonly budget: number;
  /** Deadlines and leases that may still run out. */
  readonly timers: number;
  /** Somebody gave the memory up on purpose, or the hardware that alone had it is gone. */
  readonly excused: boolean;
  /** A controller went on after it had lost the lead: what it leaves behind is nobody's fault. */
  readonly haunted: boolean;
}

/** One step of somebody. */
export interface Step {
  readonly label: string;
  readonly world: World;
}

const byUid = (left: { uid: string }, right: { uid: string }) => (left.uid < right.uid ? -1 : left.uid > right.uid ? 1 : 0);

export function withMigration(world: World, m: number, change: Partial<MigrationState>): World {
  return { ...world, migs: world.migs.map((mig, index) => (index === m ? { ...mig, ...change } : mig)) };
}

export function migrationOf(world: World, m: number): MigrationState {
  return world.migs[m] as MigrationState;
}

export function withTarget(world: World, m: number, node: Node, record: TargetRecord | null): World {
  return withMigration(world, m, { targets: { ...migrationOf(world, m).targets, [node]: record } });
}

export function withNode(world: World, node: Node, change: Partial<NodeState>): World {
  return { ...world, nodes: { ...world.nodes, [node]: { ...world.nodes[node], ...change } } };
}

export function withPod(world: World, uid: string, change: Partial<PodState>): World {
  return { ...world, pods: world.pods.map((pod) => (pod.uid === uid ? { ...pod, ...change } : pod)) };
}

export function addPod(world: World, pod: PodState): World {
  return { ...world, pods: [...world.pods, pod].sort(byUid) };
}

export function removePod(world: World, uid: string): World {
  return { ...world, pods: world.pods.filter((pod) => pod.uid !== uid) };
}

export function withProcess(world: World, uid: string, change: Partial<Process>): World {
  return { ...world, procs: world.procs.map((process) => (process.uid === uid ? { ...process, ...change } : process)) };
}

export function addProcess(world: World, process: Process): World {
  return { ...world, procs: [...world.procs, process].sort(byUid) };
}

export function removeProcess(world: World, uid: string): World {
  return { ...world, procs: world.procs.filter((process) => process.uid !== uid) };
}

/** What of a pod makes it another version for those who name one. Its kubelet's reports do too, which only refuses more. */
export function versionOf({ claim, fenced, released }: PodState): string {
  return `${claim}${fenced ? '/undone' : ''}${released ? '/released' : ''}`;
}

export function podNamed(world: World, name: string | undefined): PodState | undefined {
  return name === undefined ? undefined : world.pods.find((pod) => pod.name === name);
}

export function processOf(world: World, uid: string): Process | undefined {
  return world.procs.find((process) => process.uid === uid);
}

/** Whether the controller, the API server and the other node reach this node. */
export function isConnected({ power, net }: NodeState): boolean {
  return power && net;
}

/** Whether the agent on this node answers the controller. */
export function answers(node: NodeState): boolean {
  return isConnected(node) && node.agent;
}
