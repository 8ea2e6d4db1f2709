import * as grpc from '@grpc/grpc-js';
import { type Container, type Envelope, methods, type Process } from './protocol.ts';

/** The namespace in which containerd's CRI plugin keeps the containers of Kubernetes. */
const criNamespace = 'k8s.io';

/** What one call to containerd may take before it is given up. Milliseconds. */
const callDeadline = 15_000;

type Method = (typeof methods)[keyof typeof methods];

export function isNotFound(error: unknown): boolean {
  return (error as Partial<grpc.ServiceError>).code === grpc.status.NOT_FOUND;
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

  async pauseTask(id: string, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.pauseTask, { container_id: id }, signal);
  }

  async resumeTask(id: string, signal: AbortSignal): Promise<void> {
    await this.#unary(methods.resumeTask, { container_id: id }, signal);
  }

  async contentInfo(digest: string, signal: AbortSignal): Promise<{ size: number } | undefined> {
    try {
      return (await this.#unary<{ info: { size: number } }>(methods.contentInfo, { digest }, signal)).info;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
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

  #unary<Response>(method: Method, request: object, signal: AbortSignal): Promise<Response> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata,
        { deadline: Date.now() + callDeadline },
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
