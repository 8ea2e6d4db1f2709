import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobStore } from '../../../src/image/blob-store.ts';
import type { RegistryClient } from '../../../src/image/registry-client.ts';
import {
  createRegistryHandler,
  type Manifest,
  type RegistryBackend,
  type RegistryServerOptions,
} from '../../../src/image/registry-server.ts';

/** Things to undo after each test, last first. */
export class Cleanup {
  readonly #undo: (() => unknown)[] = [];

  add<T>(value: T, undo: (value: T) => unknown): T {
    this.#undo.push(() => undo(value));
    return value;
  }

  directory(): string {
    return this.add(mkdtempSync(join(tmpdir(), 'podferry-test-')), (path) => rmSync(path, { recursive: true, force: true }));
  }

  client<T extends RegistryClient>(client: T): T {
    return this.add(client, (it) => it.close());
  }

  /** A listening server on 127.0.0.1; its host:port. */
  async serve(listener: RequestListener, tls?: ServerOptions): Promise<string> {
    const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    this.add(server, (it) => {
      it.closeAllConnections();
      return new Promise((done) => it.close(done));
    });
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async run(): Promise<void> {
    for (const undo of this.#undo.splice(0).reverse()) await undo();
  }
}

/** A backend that keeps blobs in a store and manifests in memory; every repository may be pushed to but `denied`. */
export class TestBackend implements RegistryBackend {
  readonly store: BlobStore;
  readonly manifests = new Map<string, Manifest>();
  readonly uploads: NonNullable<RegistryBackend['uploads']>;

  constructor(store: BlobStore) {
    this.store = store;
    this.uploads = {
      accept: async (repository) => repository !== 'denied',
      create: (_repository, options) => store.createUpload(options),
      putManifest: async (repository, reference, manifest) => {
        this.manifests.set(`${repository} ${reference}`, manifest);
        this.manifests.set(`${repository} ${manifest.digest}`, manifest);
      },
    };
  }

  async resolveManifest(repository: string, reference: string): Promise<Manifest | undefined> {
    return this.manifests.get(`${repository} ${reference}`);
  }

  async openBlob(_repository: string, digest: string) {
    const stat = await this.store.stat(digest);
    return stat && { size: stat.size, stream: (range?: { start: number; end: number }) => this.store.read(digest, range) };
  }
}

/** podferry's own registry on 127.0.0.1, with its store. */
export async function startRegistry(
  cleanup: Cleanup,
  options: RegistryServerOptions & { tls?: ServerOptions; wrap?: (handler: RequestListener) => RequestListener } = {},
): Promise<{ registry: string; backend: TestBackend; store: BlobStore; directory: string }> {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const backend = new TestBackend(store);
  const handler = cleanup.add(createRegistryHandler(backend, options), (it) => it.close());
  const registry = await cleanup.serve(options.wrap?.(handler) ?? handler, options.tls);
  return { registry, backend, store, directory };
}

/** A directory on a tmpfs of this many bytes, or the reason why there is none. */
export function smallDisk(bytes: number): { path: string; remove: () => void } | { skip: string } {
  const path = mkdtempSync(join(tmpdir(), 'podferry-test-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'podferry-test', path], { stdio: 'pipe' });
  } catch (error) {
    rmSync(path, { recursive: true });
    return { skip: `a tmpfs cannot be mounted here: ${(error as Error).message.split('\n')[0]}` };
  }
  return {
    path,
    remove: () => {
      execFileSync('umount', [path]);
      rmSync(path, { recursive: true });
    },
  };
}

/** Waits until the condition holds, at most ten seconds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (await condition()) return;
    await new Promise((done) => setTimeout(done, 10));
  }
  throw new Error('the condition did not come true within 10 s');
}
