import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SourceRequest } from '../api/agent.ts';
import { imagesDirectory } from '../archive/directory.ts';
import type { CheckpointWay } from '../plan/room.ts';
import type { Kubelet } from './kubelet.ts';
import type { Runtime } from './runtime.ts';
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

/** Makes directories for containers of a migration, each one that no earlier try has written to. */
function directories(root: string) {
  let tries = 0;
  return async (uid: string, name: string) => {
    const path = join(root, uid, `${name}.${Date.now()}.${tries++}`);
    await mkdir(join(path, imagesDirectory), { recursive: true, mode: 0o700 });
    return path;
  };
}

/** Begins dumps of containers that run on, a directory each; undefined: the runtime cannot. */
export function memoryCheckpointer({ runtime, directory, timeout }: CheckpointerOptions) {
  if (!runtime.checkpointMemory) return undefined;
  const dump = runtime.checkpointMemory.bind(runtime);
  const newDirectory = directories(directory);
  return async (uid: string, { id, name }: ContainerName) => {
    const path = await newDirectory(uid, `${name}.warm`);
    const whole = dump(id, path, AbortSignal.timeout(timeout * 1000));
    whole.catch(() => undefined);
    return { path, whole };
  };
}

/** Begins checkpoints. */
export function checkpointer({ runtime, kubelet, way, directory, timeout }: CheckpointerOptions) {
  const newDirectory = directories(directory);
  const byRuntime = async (uid: string, { id, name }: ContainerName, begun: (path: string) => void) => {
    const path = await newDirectory(uid, name);
    begun(path);
    await runtime.checkpointInto?.(id, path, AbortSignal.timeout(timeout * 1000));
  };
  const byKubelet = ({ namespace, pod }: SourceRequest, { id, name }: ContainerName) =>
    runtime.withImageOf(id, () => kubelet.checkpoint(namespace, pod, name, timeout, AbortSignal.timeout(timeout * 1000)));
  return (uid: string, request: SourceRequest, container: ContainerName): Checkpointing => {
    if (way === 'kubelet' || !runtime.checkpointInto) {
      const archive = byKubelet(request, container);
      return { archive, whole: archive.then(() => undefined) };
    }
    const { promise: archive, resolve, reject } = Promise.withResolvers<string>();
    const whole = byRuntime(uid, container, resolve);
    whole.catch(reject);
    return { archive, whole };
  };
}
