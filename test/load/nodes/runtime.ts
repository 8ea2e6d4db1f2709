import { Readable } from 'node:stream';
import type { ContainerStart, FailedRestore, RunningContainer, Runtime, StoredContent } from '../../../src/agent/runtime.ts';

interface RunningPod {
  namespace: string;
  name: string;
  uid: string;
  containers: RunningContainer[];
}

let lastPid = 1000;

/** A container runtime whose containers are entries of a list. */
export class FakeRuntime implements Runtime {
  readonly #pods = new Map<string, RunningPod>();

  /** A pod of which nothing runs yet. */
  add(namespace: string, name: string, uid: string): void {
    this.#pods.set(uid, { namespace, name, uid, containers: [] });
  }

  run(uid: string, names: string[]): void {
    const pod = this.#pods.get(uid);
    if (pod) pod.containers = names.map((name) => ({ id: `${uid}/${name}`, name, pid: ++lastPid, paused: false }));
  }

  remove(uid: string): void {
    this.#pods.delete(uid);
  }

  knows(uid: string): boolean {
    return this.#pods.has(uid);
  }

  async containersOf(podUid: string): Promise<RunningContainer[]> {
    return (this.#pods.get(podUid)?.containers ?? []).map((container) => ({ ...container }));
  }

  async processOf(id: string): Promise<RunningContainer | undefined> {
    const [uid = ''] = id.split('/');
    return this.#pods.get(uid)?.containers.find((container) => container.id === id);
  }

  async podUidOf(namespace: string, pod: string): Promise<string | undefined> {
    return this.#find(namespace, pod)?.uid;
  }

  async isAlive(namespace: string, pod: string): Promise<boolean> {
    return this.#find(namespace, pod) !== undefined;
  }

  async memoryOf(): Promise<number | undefined> {
    return undefined;
  }

  async pause(id: string): Promise<void> {
    this.#container(id).paused = true;
  }

  async resume(id: string): Promise<void> {
    const [uid = ''] = id.split('/');
    if (this.#pods.has(uid)) this.#container(id).paused = false;
  }

  /** Nothing is restored here that could fail. */
  async *failedRestores(): AsyncIterable<FailedRestore> {}

  withImageOf<T>(_id: string, checkpoint: () => Promise<T>): Promise<T> {
    return checkpoint();
  }

  /** Kubelets tell agents of starts themselves here. */
  async *starts(): AsyncIterable<ContainerStart> {}

  async started(): Promise<ContainerStart[]> {
    return [];
  }

  async imageContent(): Promise<{ content: StoredContent[]; missing: string[] }> {
    return { content: [], missing: [] };
  }

  readContent(): Readable {
    return Readable.from([]);
  }

  async pullImage(): Promise<void> {}
  async removeImages(): Promise<void> {}

  async criuLog(): Promise<string | undefined> {
    return undefined;
  }

  close(): void {}

  /** The youngest of that name. */
  #find(namespace: string, name: string): RunningPod | undefined {
    return [...this.#pods.values()].filter((pod) => pod.namespace === namespace && pod.name === name).at(-1);
  }

  #container(id: string): RunningContainer {
    const [uid = ''] = id.split('/');
    const found = this.#pods.get(uid)?.containers.find((container) => container.id === id);
    if (!found) throw new Error(`no container ${id}`);
    return found;
  }
}
