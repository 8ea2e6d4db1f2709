import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { SourceRequest } from '../api/agent.ts';
import { imagesDirectory } from '../archive/directory.ts';
import type { CheckpointWay } from '../plan/room.ts';
import type { Kubelet } from './kubelet.ts';
import type { Runtime, WriteCheckpoint } from './runtime.ts';
import type { Checkpointing } from './source-record.ts';

export interface CheckpointerOptions {
  runtime: Runtime;
  kubelet: Kubelet;
  way: CheckpointWay;
  /** Of this agent's own, where the runtime writes to; under the same path on the node. */
  directory: string;
  /** Seconds. */
  timeout: number;
}

interface ContainerName {
  id: string;
  name: string;
}

/** Begins checkpoints of containers, and dumps of those that run on, each in a directory that no earlier try has written to. */
export class Checkpointer {
  readonly #options: CheckpointerOptions;
  /** Migration → id of a container → what was prepared for its next checkpoint. */
  readonly #ready = new Map<string, Map<string, WriteCheckpoint>>();
  #tries = 0;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
  }

  /** Does what can be done for a checkpoint while the pod still runs. It is used by the next one of the container. */
  async prepare(uid: string, { id }: ContainerName, signal: AbortSignal): Promise<void> {
    const { runtime, way } = this.#options;
    if (way === 'kubelet' || !runtime.prepareCheckpoint) return;
    const write = await runtime.prepareCheckpoint(id, signal);
    const ready = this.#ready.get(uid) ?? new Map<string, WriteCheckpoint>();
    this.#ready.set(uid, ready.set(id, write));
  }

  /** Begins the checkpoint of a paused container. */
  checkpoint(uid: string, { namespace, pod }: SourceRequest, { id, name }: ContainerName): Checkpointing {
    const { runtime, kubelet, way, timeout } = this.#options;
    const signal = AbortSignal.timeout(timeout * 1000);
    if (way === 'kubelet' || !runtime.prepareCheckpoint) {
      const archive = runtime.withImageOf(id, () => kubelet.checkpoint(namespace, pod, name, timeout, signal));
      return { archive, whole: archive.then(() => undefined) };
    }
    const prepared = this.#ready.get(uid)?.get(id) ?? runtime.prepareCheckpoint(id, signal);
    this.#ready.get(uid)?.delete(id);
    const archive = this.#newDirectory(uid, name);
    const writing = Promise.resolve(prepared).then((write) => write(archive, signal));
    // Of one that cannot be prepared the directory is all there is.
    const begun = writing.then(
      (written) => written.begun,
      () => undefined,
    );
    return { archive: begun.then(() => archive), whole: writing.then((written) => written.whole) };
  }

  /** Begins dumps of containers that run on; undefined: the runtime cannot. */
  get memory(): ((uid: string, container: ContainerName) => Promise<{ path: string; whole: Promise<void> }>) | undefined {
    const { runtime, timeout } = this.#options;
    if (!runtime.checkpointMemory) return undefined;
    const dump = runtime.checkpointMemory.bind(runtime);
    return async (uid, { id, name }) => {
      const path = this.#newDirectory(uid, `${name}.warm`);
      const whole = dump(id, path, AbortSignal.timeout(timeout * 1000));
      whole.catch(() => undefined);
      return { path, whole };
    };
  }

  /** Removes what checkpoints and dumps of a migration have written, whole or not. */
  async remove(uid: string): Promise<void> {
    this.#ready.delete(uid);
    await rm(join(this.#options.directory, uid), { recursive: true, force: true });
  }

  /** At once: the pod may stand still. */
  #newDirectory(uid: string, name: string): string {
    const path = join(this.#options.directory, uid, `${name}.${Date.now()}.${this.#tries++}`);
    mkdirSync(join(path, imagesDirectory), { recursive: true, mode: 0o700 });
    return path;
  }
}
