import type { SourceErrorStep, SourceRequest, SourceState } from '../api/agent.ts';
import { messageOf } from '../util/errors.ts';
import type { Runtime } from './runtime.ts';

/** What a source's agent must remember of a migration. */
export interface SourceRecord {
  request: SourceRequest;
  state: SourceState;
  /** Ends the freeze, unless held. Milliseconds since the epoch. */
  leaseExpires: number;
  frozenAt?: string;
  /** The containers as they were when they were paused; archives are only good while these very processes stay so. */
  frozen: { id: string; name: string; pid: number }[];
  archives: Record<string, { path: string; bytes: number }>;
  shipped: Record<string, { digest: string; bytes: number }>;
  error?: { step: SourceErrorStep; message: string };
  /** The held processes are gone although nobody of podferry ended them; why. */
  lost?: string;
}

/** How the source's keeper reaches the world; real in `run.ts`. */
export interface SourcePorts {
  runtime: Runtime;
  /** Ends within the time the request allows. */
  checkpoint(request: SourceRequest, container: string): Promise<string>;
  ship(
    request: SourceRequest,
    container: string,
    archive: string,
    progress: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<{ digest: string; bytes: number }>;
  /** From the pod's directories, or, when the pod is gone, from the copy that was kept of them (`keepVolumes`). */
  shipVolumes(
    uid: string,
    request: SourceRequest,
    progress: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<{ digest: string; bytes: number }>;
  /** Removes that copy. */
  removeVolumes(uid: string): Promise<void>;
  now(): number;
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
