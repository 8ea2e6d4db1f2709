import * as grpc from '@grpc/grpc-js';
import { type Container, codec, type Envelope, type Image, type Metric, type Mount, methods, type Process } from './protocol.ts';

/** The namespace in which containerd's CRI plugin keeps the containers of Kubernetes. */
const criNamespace = 'k8s.io';

/** What one call to containerd may take before it is given up. Milliseconds. */
const callDeadline = 15_000;

/** What work on a container's memory and files may take. Milliseconds. */
const workDeadline = 3600_000;

type Method = (typeof methods)[keyof typeof methods];

export function isNotFound(error: unknown): boolean {
  return (error as Partial<grpc.ServiceError>).code === grpc.status.NOT_FOUND;
}

/** containerd is not there, or went away during the call. */
export function isUnavailable(error: unknown): boolean {
  return (error as Partial<grpc.ServiceError>).code === grpc.status.UNAVAILABLE;
}

/** Typed calls to containerd over its unix socket; nothing but transport. */
export class ContainerdClient {
  readonly #client: grpc.Client;
  readonly #metadata = new grpc.Metadata();

  /** @param socket path of containerd's socket */
  constructor(socket: string) {
    this.#client = new grpc.Client(`unix://${socket}`, grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': 16 << 20,
      // The runtime restarts in place; do not sit out a long backoff when it is back.
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.initial_reconnect_backoff_ms': 100,
    });
    this.#metadata.set('containerd-namespace', criNamespace);
  }

  async listContainers(filters: string[], signal: AbortSignal): Promise<Container[]> {
    const response = await this.#unary<{ containers: Container[] }>(methods.listContainers, { filters }, signal);
    return response.containers;
  }

  async getContainer(id: string, signal: AbortSignal): Promise<Container> {
    const response = await this.#unary<{ container: Container }>(methods.getContainer, { id }, signal);
    return response.container;
  }

  /** The init process of a container, or undefined when it has no task. */
  async getTask(id: string, signal: AbortSignal): Promise<Process | undefined> {
    try {
      return (await this.#unary<{ process: Process }>(methods.getTask, { container_id: id }, signal)).process;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** What a task's cgroup counts; undefined when it has no task, or its shim cannot tell. */
  async taskMetrics(id: string, signal: AbortSignal): Promise<Metric | undefined> {
    const request = { filters: [`id==${JSON.stringify(id)}`] };
    const response = await this.#unary<{ metrics: Metric[] }>(methods.taskMetrics, request, signal);
    return response.metrics.find((metric) => metric.id === id);
  }

  async pauseTask(id: string, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.pauseTask, { container_id: id }, signal);
  }

  async resumeTask(id: string, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.resumeTask, { container_id: id }, signal);
  }

  /**
   * Has CRIU write the task's images into a directory, and its log into another (as `ctr tasks checkpoint --image-path`):
   * containerd then neither reads them nor copies them. The task is as it was afterwards.
   */
  async checkpointTask(id: string, imagePath: string, workPath: string, signal: AbortSignal): Promise<void> {
    const value = codec('CheckpointOptions').encode({ image_path: imagePath, work_path: workPath });
    const options = { type_url: 'containerd.runc.v1.CheckpointOptions', value };
    await this.#unary(methods.checkpointTask, { container_id: id, options }, signal, workDeadline);
  }

  /** Name of the snapshot that a snapshot is made on. */
  async parentOfSnapshot(snapshotter: string, key: string, signal: AbortSignal): Promise<string> {
    return (await this.#unary<{ info: { parent: string } }>(methods.statSnapshot, { snapshotter, key }, signal)).info.parent;
  }

  async viewSnapshot(snapshotter: string, key: string, parent: string, signal: AbortSignal): Promise<Mount[]> {
    return (await this.#unary<{ mounts: Mount[] }>(methods.viewSnapshot, { snapshotter, key, parent }, signal)).mounts;
  }

  async mountsOfSnapshot(snapshotter: string, key: string, signal: AbortSignal): Promise<Mount[]> {
    return (await this.#unary<{ mounts: Mount[] }>(methods.mountsOfSnapshot, { snapshotter, key }, signal)).mounts;
  }

  async removeSnapshot(snapshotter: string, key: string, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.removeSnapshot, { snapshotter, key }, signal);
  }

  /** Stores what `right` has more, other or less than `left` as a layer in the content store; its digest and size in bytes. */
  async diff(request: {
    left: Mount[];
    right: Mount[];
    mediaType: string;
    ref: string;
    labels: Record<string, string>;
    signal: AbortSignal;
  }): Promise<{ digest: string; size: number }> {
    const { left, right, mediaType, ref, labels, signal } = request;
    const message = { left, right, media_type: mediaType, ref, labels };
    return (await this.#unary<{ diff: { digest: string; size: number } }>(methods.diff, message, signal, workDeadline)).diff;
  }

  async deleteContent(digest: string, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.deleteContent, { digest }, signal);
  }

  async contentInfo(digest: string, signal: AbortSignal): Promise<{ size: number } | undefined> {
    try {
      return (await this.#unary<{ info: { size: number } }>(methods.contentInfo, { digest }, signal)).info;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async getImage(name: string, signal: AbortSignal): Promise<Image | undefined> {
    try {
      return (await this.#unary<{ image: Image }>(methods.getImage, { name }, signal)).image;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async createImage(image: Image, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.createImage, { image }, signal);
  }

  /** Names of images, by filters of containerd's language (`target.digest==…`, `name~=…`), any of which has to hold. */
  async listImages(filters: string[], signal: AbortSignal): Promise<string[]> {
    const response = await this.#unary<{ images: { name: string }[] }>(methods.listImages, { filters }, signal);
    return response.images.map(({ name }) => name);
  }

  /** One that is gone is no error. */
  async deleteImage(name: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#unary(methods.deleteImage, { name }, signal);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** As the kubelet has it pulled: fetched, unpacked, and known under its name (CRI, PullImage). */
  async pullImage(image: string, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.pullImage, { image: { image } }, signal, workDeadline);
  }

  async *readContent(digest: string, offset: number, size: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for await (const message of this.#stream(methods.readContent, { digest, offset, size }, signal)) {
      yield (message as { data: Uint8Array }).data;
    }
  }

  async *subscribe(filters: string[], signal: AbortSignal): AsyncGenerator<Envelope> {
    for await (const message of this.#stream(methods.subscribe, { filters }, signal)) yield message as Envelope;
  }

  close(): void {
    this.#client.close();
  }

  #unary<Response>(method: Method, request: object, signal: AbortSignal, deadline = callDeadline): Promise<Response> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata,
        { deadline: Date.now() + deadline },
        (error, value) => {
          signal.removeEventListener('abort', cancel);
          if (error) reject(error);
          else resolve(value as Response);
        },
      );
      const cancel = () => call.cancel();
      signal.addEventListener('abort', cancel, { once: true });
    });
  }

  async *#stream(method: Method, request: object, signal: AbortSignal): AsyncGenerator<unknown> {
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      this.#metadata,
    );
    const cancel = () => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      for await (const message of call) yield message;
    } finally {
      signal.removeEventListener('abort', cancel);
      call.cancel();
    }
  }
}
