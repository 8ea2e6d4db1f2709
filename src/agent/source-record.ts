import type { SourceErrorStep, SourceRequest, SourceState } from '../api/agent.ts';
import type { CheckpointWay } from '../plan/room.ts';
import { messageOf } from '../util/errors.ts';
import type { TokenBucket } from '../util/pace.ts';
import type { Runtime } from './runtime.ts';

/** What a source's agent must remember of a migration. */
export interface SourceRecord {
  request: SourceRequest;
  state: SourceState;
  /** Ends the freeze, unless held. Milliseconds since the epoch. */
  leaseExpires: number;
  frozenAt?: string;
  checkpointedAt?: string;
  /** The containers as they were when they were paused; archives are only good while these very processes stay so. */
  frozen: { id: string; name: string; pid: number }[];
  /** About what CRIU would write of all of them, as it was looked at before the freeze. Bytes. */
  memory?: number;
  archives: Record<string, { path: string; bytes: number }>;
  /** In which boot of the node they were written, until they are on its disk: some time after the hold. */
  unflushedBoot?: string;
  /** Why they are worth nothing although the pod is held. */
  archivesLost?: string;
  shipped: Record<string, Shipped>;
  /** What was sent ahead of each container while it ran, the first round first. */
  warm?: Record<string, WarmLayer[]>;
  error?: { step: SourceErrorStep; message: string };
  /** The held processes are gone although nobody of podferry ended them; why. */
  lost?: string;
  /** Why the last try to ship the archives for a return failed. */
  returnFailure?: string;
}

/** A round of memory sent ahead. */
export interface WarmLayer {
  /** Directory with the page maps as they were sent (`mapsDirectory`), and, of the last round, with CRIU's images. */
  path: string;
  /** The files of memory as the destination has them after it; only those of the last round are there still. */
  pages: Record<string, { digest: string; size: number }>;
  /** What was sent, and what CRIU wrote. Bytes. */
  bytes: number;
  memory: number;
}

/** What was shipped of a container, or of the volumes. */
export interface Shipped {
  digest: string;
  bytes: number;
  /** CRC-32 of the archive as it was read from the disk: what is shipped later has to be the same. */
  checksum?: number;
  /** The memory was shipped beside the archive. */
  beside?: boolean;
  /** It says only what changed since what was sent ahead, so that a whole one is another. */
  incremental?: boolean;
}

/** A checkpoint under way. */
export interface Checkpointing {
  /** Path of the archive, a tar or a directory of the same layout: there already, or growing. Rejects as `whole` does. */
  archive: Promise<string>;
  /** Resolves when nothing is written to it any more. */
  whole: Promise<void>;
}

export interface ArchiveToShip {
  path: string;
  /** As in `Checkpointing`. */
  whole: Promise<void>;
  /** What was shipped before; it has to be the same. */
  before?: Shipped;
  /** What was sent ahead of it; only what changed since travels. */
  layers?: WarmLayer[];
}

/** Memory of a container that runs on, to be sent ahead. */
export interface MemoryToShip {
  path: string;
  /** As in `Checkpointing`. */
  whole: Promise<void>;
  layers: WarmLayer[];
}

/** How a part is sent. */
export interface Flow {
  /** Bytes that have passed so far. */
  progress(bytes: number): void;
  /** What it shares with the migration's other parts. */
  pace: TokenBucket;
}

/** How the work tells its keeper of what it has come to. */
export interface WorkHooks {
  /** Resolves when the record, as it is now, would survive a power cut. */
  save(): Promise<void>;
  /** The record, as it is now, is written soon. After a crash before that the one before it is what there is. */
  saveLater(): void;
  /** Bytes of a part that have passed so far. */
  progress(part: string, bytes: number): void;
  /** Bytes of a part that were sent ahead so far, while the pod runs. */
  ahead(part: string, bytes: number): void;
  /** All containers are paused. */
  frozen(): void;
  /** Tells those who look after the node. */
  note(message: string): void;
  pace: TokenBucket;
}

/** How the source's keeper reaches the world; real in `run.ts`. */
export interface SourcePorts {
  runtime: Runtime;
  /** By whom containers are checkpointed here. */
  way: CheckpointWay;
  /** What is free where that writes, bytes; undefined when it cannot be told. */
  freeBytes(): number | undefined;
  /** Has the kernel get memory ready for a checkpoint of so many bytes, in so many milliseconds at most (`memory-at-hand.ts`). Never fails but by the signal. */
  memoryAtHand?(bytes: number, milliseconds: number, signal: AbortSignal): Promise<AsyncDisposable>;
  /** Collects this process's garbage, so that it need not be while the pod stands still (util/garbage.ts). */
  collectGarbage?(): void;
  /** Does what can be done for a checkpoint of a container while it still runs. */
  prepareCheckpoint?(uid: string, container: { id: string; name: string }, signal: AbortSignal): Promise<void>;
  /** Opens the connections that shipping will use, while the pod still runs. Never fails, and takes a second at most. */
  connect?(request: SourceRequest, signal: AbortSignal): Promise<void>;
  /** Begins the checkpoint of a paused container; ends within the time the request allows, and not before. */
  checkpoint(uid: string, request: SourceRequest, container: { id: string; name: string }): Checkpointing;
  /** Sends memory ahead; left out: this node cannot. */
  ahead?: {
    /** Begins a dump of a container that runs on. */
    checkpoint(uid: string, container: { id: string; name: string }): Promise<{ path: string; whole: Promise<void> }>;
    ship(request: SourceRequest, container: string, memory: MemoryToShip, flow: Flow, signal: AbortSignal): Promise<WarmLayer>;
  };
  ship(request: SourceRequest, container: string, archive: ArchiveToShip, flow: Flow, signal: AbortSignal): Promise<Shipped>;
  /** From the pod's directories, or, for a return, from the copy that was kept of them (`keepVolumes`), which has to be what was shipped `before`. */
  shipVolumes(uid: string, request: SourceRequest, before: Shipped | undefined, flow: Flow, signal: AbortSignal): Promise<Shipped>;
  /** Removes that copy. */
  removeVolumes(uid: string): Promise<void>;
  /** Removes from the configured registry what was pushed there (transfer Registry). Never fails. */
  retract(request: SourceRequest): Promise<void>;
  /** Removes what checkpoints of this migration have written where they may be followed, whole or not. */
  removeCheckpoints(uid: string): Promise<void>;
  /** What this boot of the node is called; another after each. */
  boot: string;
  now(): number;
}

/** Whether the destination takes memory beside an archive, where the checkpoint is a directory (ship.ts). */
export function goesBeside({ destination }: SourceRequest): boolean {
  return destination.contentDirectory !== undefined;
}

/** Key of `shipped` for the volumes, which are one image beside the containers'; no container can be named so. */
export const volumesKey = '/volumes';

/** When the pod is resumed unless it is held: at the end of the lease, or of what its liveness probe allows. Milliseconds since the epoch. */
export function endOfFreeze({ leaseExpires, frozenAt, request }: SourceRecord): number {
  if (frozenAt === undefined || request.budgetMilliseconds === undefined) return leaseExpires;
  return Math.min(leaseExpires, Date.parse(frozenAt) + request.budgetMilliseconds);
}

/** A failure on the way, and in which part of it. */
export class StepError extends Error {
  readonly step: SourceErrorStep;

  constructor(step: SourceErrorStep, cause: unknown) {
    super(messageOf(cause), { cause });
    this.step = step;
  }
}

export async function step<Value>(name: SourceErrorStep, run: () => Promise<Value>): Promise<Value> {
  try {
    return await run();
  } catch (error) {
    throw error instanceof StepError ? error : new StepError(name, error);
  }
}
