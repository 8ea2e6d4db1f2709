import { Readable } from 'node:stream';
import { pino } from 'pino';
import type { ContainerStart, FailedRestore, RunningContainer, Runtime, StoredContent } from '../../../src/agent/runtime.ts';
import { digestOf } from '../../../src/image/digest.ts';

export const log = pino({ level: 'silent' });
export const uid = '44444444-4444-4444-4444-444444444444';
export const otherUid = '55555555-5555-5555-5555-555555555555';
export const podUid = '11111111-1111-1111-1111-111111111111';

/** A promise that is settled by hand. */
export function gate(): { passed: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { passed: promise, open: resolve };
}

/** What lasts until it is cut off. */
export function never(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** A container runtime of a few containers and images in memory. What it was asked is in `calls`, in order. */
export class FakeRuntime implements Runtime {
  readonly calls: string[] = [];
  readonly content = new Map<string, Buffer>();
  containers: RunningContainer[] = [];
  missing: string[] = [];
  /** Bytes, by the container's name. */
  readonly memory = new Map<string, number>();
  sandbox: string | undefined = podUid;
  criu: string | undefined;
  /** In the place of an answer, for the call on this container (`pause app`). */
  readonly instead = new Map<string, () => Promise<void>>();

  /** Adds a container that runs; its id is `id-of-NAME`. */
  run(...names: string[]): this {
    for (const name of names) this.containers.push({ id: `id-of-${name}`, name, pid: 100 + this.containers.length, paused: false });
    return this;
  }

  container(name: string): RunningContainer {
    const found = this.containers.find((container) => container.name === name);
    if (!found) throw new Error(`no container ${name}`);
    return found;
  }

  get paused(): string[] {
    return this.containers.filter(({ paused }) => paused).map(({ name }) => name);
  }

  /** Adds content; its digest. */
  store(content: string): StoredContent {
    const bytes = Buffer.from(content);
    const digest = digestOf(bytes);
    this.content.set(digest, bytes);
    return { digest, size: bytes.length };
  }

  async containersOf(): Promise<RunningContainer[]> {
    return structuredClone(this.containers);
  }

  async processOf(id: string): Promise<RunningContainer | undefined> {
    return structuredClone(this.containers.find((container) => container.id === id));
  }

  async podUidOf(): Promise<string | undefined> {
    return this.sandbox;
  }

  async memoryOf(id: string): Promise<number | undefined> {
    const { name = id } = this.containers.find((candidate) => candidate.id === id) ?? {};
    await this.instead.get(`memory of ${name}`)?.();
    return this.memory.get(name);
  }

  async pause(id: string): Promise<void> {
    await this.#set(id, 'pause', true);
  }

  async resume(id: string): Promise<void> {
    await this.#set(id, 'resume', false);
  }

  withImageOf<T>(_: string, checkpoint: () => Promise<T>): Promise<T> {
    return checkpoint();
  }

  async *starts(): AsyncIterable<ContainerStart> {}

  async *failedRestores(): AsyncIterable<FailedRestore> {}

  async started(): Promise<ContainerStart[]> {
    return [];
  }

  async imageContent() {
    const content = [...this.content].map(([digest, bytes]) => ({ digest, size: bytes.length }));
    return { content, missing: this.missing };
  }

  readContent(digest: string, offset: number, length: number): Readable {
    return Readable.from([(this.content.get(digest) ?? Buffer.alloc(0)).subarray(offset, offset + length)]);
  }

  alive = false;

  async isAlive(): Promise<boolean> {
    return this.alive;
  }

  /** Pulls under way end when they are told to. */
  pulls: string[] = [];

  async pullImage(reference: string, signal: AbortSignal): Promise<void> {
    this.pulls.push(reference);
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('cancelled'))));
  }

  async removeImages(which: { digest: string } | { prefix: string }): Promise<void> {
    this.calls.push(`remove images ${'digest' in which ? which.digest : which.prefix}`);
  }

  async criuLog(): Promise<string | undefined> {
    return this.criu;
  }

  close(): void {}

  async #set(id: string, call: string, paused: boolean): Promise<void> {
    const container = this.containers.find((candidate) => candidate.id === id);
    this.calls.push(`${call} ${container?.name ?? id}`);
    await this.instead.get(`${call} ${container?.name}`)?.();
    if (container) container.paused = paused;
  }
}
