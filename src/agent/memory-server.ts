import type { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import { messageOf } from '../util/errors.ts';
import { startThread } from '../util/thread.ts';
import type { FromMemoryThread, MemoryThreadData, ToMemoryThread } from './memory-protocol.ts';
import type { AgentTls } from './mutual-tls.ts';

export interface MemoryServerOptions extends MemoryThreadData {
  /** The directory of the blob store that takes in what is sent to a repository; undefined: it is not to be sent to. */
  directoryOf(repository: string): Promise<string | undefined>;
}

/**
 * Takes in the memory of checkpoints on a port of its own, in a thread of its own. TLS hands bytes over in buffers of 16 KiB, so
 * that a GiB leaves 65,536 of them to be collected, and a collection costs what else lives on the heap: in the agent's own
 * thread twice as much time as all the rest of it. Besides, the agent goes on answering meanwhile.
 */
export class MemoryServer {
  readonly #worker: Worker;
  /** Rejects when the thread ends before it was told to. */
  readonly failed: Promise<never>;
  readonly #ended: Promise<void>;
  #closing = false;

  private constructor({ directoryOf, ...data }: MemoryServerOptions, log: Logger, listening: () => void) {
    this.#worker = startThread('memory-thread', import.meta.url, data);
    this.#worker.on('message', (message: FromMemoryThread) => {
      switch (message.type) {
        case 'listening':
          listening();
          break;
        case 'open':
          directoryOf(message.repository)
            .catch((error: unknown) => void log.error({ error: messageOf(error) }, 'a directory for memory could not be made'))
            .then((path) => this.#say({ type: 'directory', id: message.id, ...(path === undefined ? {} : { path }) }));
          break;
        case 'failed':
          log.error({ path: message.path, error: message.message }, 'taking in memory failed');
          break;
      }
    });
    const { promise: failed, reject } = Promise.withResolvers<never>();
    this.failed = failed;
    failed.catch(() => undefined);
    this.#worker.on('error', (error) => reject(new Error(`the thread that takes in memory failed: ${messageOf(error)}`, { cause: error })));
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        if (!this.#closing) reject(new Error('the thread that takes in memory ended'));
        resolve();
      });
    });
  }

  /** Resolves when it listens. @throws when the port is taken */
  static async start(options: MemoryServerOptions, log: Logger): Promise<MemoryServer> {
    const { promise: listening, resolve } = Promise.withResolvers<void>();
    const server = new MemoryServer(options, log, resolve);
    await Promise.race([listening, server.failed]);
    return server;
  }

  renew(tls: AgentTls): void {
    this.#say({ type: 'tls', tls });
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#say({ type: 'close' });
    await this.#ended;
  }

  #say(message: ToMemoryThread): void {
    this.#worker.postMessage(message);
  }
}
