import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Turns } from '../../util/turns.ts';
import type { ContainerStart, FailedRestore, RunningContainer, Runtime, StoredContent, WriteCheckpoint } from '../runtime.ts';
import { prepareCheckpoint } from './checkpoint.ts';
import { ContainerdClient, isNotFound, isUnavailable } from './client.ts';
import { criContainerOf } from './cri-metadata.ts';
import { memoryIn } from './memory.ts';
import { type Container, decodeTaskStart, taskStatus, toRfc3339 } from './protocol.ts';
import { RestoreLogs } from './restore-logs.ts';
import { resumeByShim } from './shim.ts';

/** Labels that containerd's CRI plugin and the kubelet put on containers (containerd internal/cri/labels, kubelet types). */
const label = {
  podUid: 'io.kubernetes.pod.uid',
  podName: 'io.kubernetes.pod.name',
  podNamespace: 'io.kubernetes.pod.namespace',
  container: 'io.kubernetes.container.name',
  kind: 'io.cri-containerd.kind',
} as const;

/** Where the runc shim keeps a container's bundle in the state directory, with CRIU's log of a dump in it, and what else it writes in the root directory. */
const bundles = 'io.containerd.runtime.v2.task/k8s.io';

/** What looking an image up, naming it and taking the name away may take. Milliseconds. */
const imageDeadline = 5_000;

export class ContainerdRuntime implements Runtime {
  readonly #client: ContainerdClient;
  readonly #diffs = new Turns();
  readonly #state: string;
  readonly #restoreLogs: RestoreLogs;

  /**
   * @param state containerd's state directory, `/run/containerd`, holding its socket
   * @param root containerd's root directory, `/var/lib/containerd`
   */
  constructor(state: string, root: string) {
    this.#state = state;
    this.#restoreLogs = new RestoreLogs(join(root, bundles));
    this.#client = new ContainerdClient(join(state, 'containerd.sock'));
  }

  async containersOf(podUid: string, signal: AbortSignal): Promise<RunningContainer[]> {
    const containers = await this.#containers({ [label.podUid]: podUid }, signal);
    const running = await Promise.all(
      containers.map(async (container): Promise<RunningContainer | undefined> => {
        const found = await this.processOf(container.id, signal);
        return found && { id: container.id, name: container.labels[label.container] ?? '', ...found };
      }),
    );
    return running.filter((container) => container !== undefined);
  }

  async processOf(id: string, signal: AbortSignal): Promise<Pick<RunningContainer, 'pid' | 'paused'> | undefined> {
    const task = await this.#client.getTask(id, signal);
    if (!task || task.status === taskStatus.stopped) return undefined;
    return { pid: task.pid, paused: task.status === taskStatus.paused };
  }

  async podUidOf(namespace: string, pod: string, signal: AbortSignal): Promise<string | undefined> {
    const sandboxes = await this.#client.listContainers(
      [filter({ [label.podNamespace]: namespace, [label.podName]: pod, [label.kind]: 'sandbox' })],
      signal,
    );
    sandboxes.sort((left, right) => left.created_at.seconds - right.created_at.seconds || left.created_at.nanos - right.created_at.nanos);
    return sandboxes.at(-1)?.labels[label.podUid];
  }

  async isAlive(namespace: string, pod: string, signal: AbortSignal): Promise<boolean> {
    const containers = await this.#client.listContainers([filter({ [label.podNamespace]: namespace, [label.podName]: pod })], signal);
    const tasks = await Promise.all(containers.map(({ id }) => this.#client.getTask(id, signal)));
    return tasks.some((task) => task !== undefined && task.status !== taskStatus.stopped);
  }

  async pause(id: string, signal: AbortSignal): Promise<void> {
    if ((await this.processOf(id, signal))?.paused) return;
    await this.#client.pauseTask(id, signal);
  }

  async memoryOf(id: string, signal: AbortSignal): Promise<number | undefined> {
    return memoryIn((await this.#client.taskMetrics(id, signal))?.data);
  }

  async withImageOf<T>(id: string, checkpoint: () => Promise<T>): Promise<T> {
    const name = await this.#nameImageOf(id, AbortSignal.timeout(imageDeadline));
    try {
      return await checkpoint();
    } finally {
      // One that stays is collected by the kubelet with the image.
      if (name) await this.#client.deleteImage(name, AbortSignal.timeout(imageDeadline)).catch(() => undefined);
    }
  }

  prepareCheckpoint(id: string, signal: AbortSignal): Promise<WriteCheckpoint> {
    return prepareCheckpoint(this.#client, id, this.#diffs, signal);
  }

  checkpointMemory(id: string, directory: string, signal: AbortSignal): Promise<void> {
    return this.#client.checkpointTask(id, join(directory, 'checkpoint'), directory, signal);
  }

  async resume(id: string, signal: AbortSignal): Promise<void> {
    try {
      const task = await this.#client.getTask(id, signal);
      if (!task || (task.status !== taskStatus.paused && task.status !== taskStatus.pausing)) return;
      await this.#client.resumeTask(id, signal);
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      await resumeByShim(join(this.#state, bundles, id), id, signal);
    }
  }

  async *starts(signal: AbortSignal): AsyncGenerator<ContainerStart> {
    for await (const envelope of this.#client.subscribe(['topic=="/tasks/start"'], signal)) {
      const { container_id: id } = decodeTaskStart(envelope.event.value);
      try {
        const start = toStart(await this.#client.getContainer(id, signal), toRfc3339(envelope.timestamp));
        if (start) yield start;
      } catch (error) {
        // The container may be gone again before it was looked up.
        if (!isNotFound(error)) throw error;
      }
    }
  }

  async *failedRestores(wanted: () => boolean, signal: AbortSignal): AsyncGenerator<FailedRestore> {
    for await (const { id, log } of this.#restoreLogs.removed(wanted, signal)) {
      try {
        const container = toStart(await this.#client.getContainer(id, signal), '');
        if (container) yield { ...container, log };
      } catch {
        // The container is gone, or the runtime: the kubelet's words have to do.
      }
    }
  }

  async started(namespace: string, pod: string, signal: AbortSignal): Promise<ContainerStart[]> {
    const containers = await this.#containers({ [label.podNamespace]: namespace, [label.podName]: pod }, signal);
    const starts: ContainerStart[] = [];
    for (const container of containers) {
      const task = await this.#client.getTask(container.id, signal);
      const start = task && toStart(container, toRfc3339(container.created_at));
      if (start) starts.push(start);
    }
    return starts;
  }

  async imageContent(digest: string, signal: AbortSignal): Promise<{ content: StoredContent[]; missing: string[] }> {
    const content: StoredContent[] = [];
    const missing: string[] = [];
    await this.#collect(digest, content, missing, signal);
    return { content, missing };
  }

  readContent(digest: string, offset: number, length: number, signal: AbortSignal): Readable {
    return Readable.from(this.#client.readContent(digest, offset, length, signal), { objectMode: false });
  }

  pullImage(reference: string, signal: AbortSignal): Promise<void> {
    return this.#client.pullImage(reference, signal);
  }

  async removeImages(which: { digest: string } | { prefix: string }, signal: AbortSignal): Promise<void> {
    const filter =
      'digest' in which
        ? `target.digest==${JSON.stringify(which.digest)}`
        : `name~=${JSON.stringify(`^${which.prefix.replaceAll(/[^a-z0-9/:-]/g, '.')}`)}`;
    for (const name of await this.#client.listImages([filter], signal)) await this.#client.deleteImage(name, signal);
  }

  async criuLog(containerId: string): Promise<string | undefined> {
    // None is an answer too.
    return readFile(join(this.#state, bundles, containerId, 'criu-dump.log'), 'utf8').catch(() => undefined);
  }

  close(): void {
    this.#client.close();
  }

  /**
   * Task.Checkpoint of containerd's client looks the container's image up by name and fails without it, even when the
   * image is there under other names (client/task.go, checkpointImage). The CRI keeps a name that is the image's id.
   *
   * @returns the name, when it had to be made
   */
  async #nameImageOf(id: string, signal: AbortSignal): Promise<string | undefined> {
    const container = await this.#client.getContainer(id, signal);
    const { image: name } = container;
    if (!name || (await this.#client.getImage(name, signal))) return undefined;
    const image = await this.#client.getImage(criContainerOf(container).ImageRef, signal);
    if (!image) return undefined;
    await this.#client.createImage({ ...image, name }, signal);
    return name;
  }

  async #containers(labels: Record<string, string>, signal: AbortSignal): Promise<Container[]> {
    return this.#client.listContainers([filter({ ...labels, [label.kind]: 'container' })], signal);
  }

  /** An index leads to manifests, of which only this platform's are in the store; a manifest leads to config and layers. */
  async #collect(digest: string, content: StoredContent[], missing: string[], signal: AbortSignal): Promise<void> {
    const info = await this.#client.contentInfo(digest, signal);
    if (!info) {
      missing.push(digest);
      return;
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.#client.readContent(digest, 0, info.size, signal)) chunks.push(chunk);
    const document = JSON.parse(Buffer.concat(chunks).toString('utf8')) as ImageDocument;
    content.push({ digest, size: info.size, ...(document.mediaType ? { mediaType: document.mediaType } : {}) });
    if (document.manifests) {
      let found = 0;
      for (const manifest of document.manifests) {
        if (!(await this.#client.contentInfo(manifest.digest, signal))) continue;
        await this.#collect(manifest.digest, content, missing, signal);
        found++;
      }
      if (found === 0) missing.push(...document.manifests.map((manifest) => manifest.digest));
      return;
    }
    for (const blob of [document.config, ...(document.layers ?? [])]) {
      if (!blob) continue;
      const stored = await this.#client.contentInfo(blob.digest, signal);
      if (stored) content.push({ digest: blob.digest, size: stored.size });
      else missing.push(blob.digest);
    }
  }
}

interface ImageDocument {
  mediaType?: string;
  manifests?: { digest: string }[];
  config?: { digest: string };
  layers?: { digest: string }[];
}

function toStart(container: Container, at: string): ContainerStart | undefined {
  const { labels } = container;
  if (labels[label.kind] !== 'container') return undefined;
  return {
    namespace: labels[label.podNamespace] ?? '',
    pod: labels[label.podName] ?? '',
    podUid: labels[label.podUid] ?? '',
    container: labels[label.container] ?? '',
    image: container.image,
    at,
  };
}

/** One filter of containerd's filter language: all labels have to hold. */
function filter(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([name, value]) => `labels.${JSON.stringify(name)}==${JSON.stringify(value)}`)
    .join(',');
}
