import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ContainerStart, RunningContainer, Runtime, StoredContent } from '../runtime.ts';
import { ContainerdClient, isNotFound } from './client.ts';
import { type Container, decodeTaskStart, taskStatus, toRfc3339 } from './protocol.ts';

/** Labels that containerd's CRI plugin and the kubelet put on containers (containerd internal/cri/labels, kubelet types). */
const label = {
  podUid: 'io.kubernetes.pod.uid',
  podName: 'io.kubernetes.pod.name',
  podNamespace: 'io.kubernetes.pod.namespace',
  container: 'io.kubernetes.container.name',
  kind: 'io.cri-containerd.kind',
} as const;

/** Where the runc shim keeps a container's bundle, with CRIU's logs in it while the task exists. */
const bundles = 'io.containerd.runtime.v2.task/k8s.io';

export class ContainerdRuntime implements Runtime {
  readonly #client: ContainerdClient;
  readonly #state: string;

  /** @param state containerd's state directory, `/run/containerd`, holding its socket */
  constructor(state: string) {
    this.#state = state;
    this.#client = new ContainerdClient(join(state, 'containerd.sock'));
  }

  async containersOf(podUid: string, signal: AbortSignal): Promise<RunningContainer[]> {
    const containers = await this.#containers({ [label.podUid]: podUid }, signal);
    const running = await Promise.all(
      containers.map(async (container): Promise<RunningContainer | undefined> => {
        const task = await this.#client.getTask(container.id, signal);
        if (!task || task.status === taskStatus.stopped) return undefined;
        return {
          id: container.id,
          name: container.labels[label.container] ?? '',
          pid: task.pid,
          paused: task.status === taskStatus.paused,
        };
      }),
    );
    return running.filter((container) => container !== undefined);
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
    const task = await this.#client.getTask(id, signal);
    if (task?.status === taskStatus.paused) return;
    await this.#client.pauseTask(id, signal);
  }

  async resume(id: string, signal: AbortSignal): Promise<void> {
    const task = await this.#client.getTask(id, signal);
    if (!task || (task.status !== taskStatus.paused && task.status !== taskStatus.pausing)) return;
    await this.#client.resumeTask(id, signal);
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

  async removeImages(which: { digest: string } | { prefix: string }, signal: AbortSignal): Promise<void> {
    const filter =
      'digest' in which
        ? `target.digest==${JSON.stringify(which.digest)}`
        : `name~=${JSON.stringify(`^${which.prefix.replaceAll(/[^a-z0-9/:-]/g, '.')}`)}`;
    for (const name of await this.#client.listImages([filter], signal)) await this.#client.deleteImage(name, signal);
  }

  async criuLog(containerId: string): Promise<string | undefined> {
    for (const name of ['criu-dump.log', 'work/restore.log', 'restore.log']) {
      try {
        return await readFile(join(this.#state, bundles, containerId, name), 'utf8');
      } catch {
        // Which log there is depends on what was tried; none is an answer too.
      }
    }
    return undefined;
  }

  close(): void {
    this.#client.close();
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
