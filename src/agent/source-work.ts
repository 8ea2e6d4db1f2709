import { open, rm, stat } from 'node:fs/promises';
import type { SourceState } from '../api/agent.ts';
import { messageOf } from '../util/errors.ts';
import type { RunningContainer } from './runtime.ts';
import { type SourcePorts, type SourceRecord, step, volumesKey } from './source-record.ts';

/** How the work tells its keeper of what it has come to. */
export interface WorkHooks {
  /** Resolves when the record, as it is now, would survive a power cut. */
  save(): Promise<void>;
  /** Bytes of a part that have passed so far. */
  progress(part: string, bytes: number): void;
  /** All containers are paused. */
  frozen(): void;
}

/** Freezes, checkpoints and ships one pod; every step finds what an earlier process had done already. */
export class SourceWork {
  readonly #ports: SourcePorts;

  constructor(ports: SourcePorts) {
    this.#ports = ports;
  }

  /** @throws StepError */
  async run(uid: string, record: SourceRecord, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    const { request } = record;
    /** A step on the way is done, unless the way was given up meanwhile. */
    const reach = async (state: SourceState) => {
      signal.throwIfAborted();
      record.state = state;
      await hooks.save();
    };
    await step('freeze', async () => {
      if (record.state !== 'Freezing') return this.assertFrozen(record, signal);
      await this.#freeze(record, hooks, signal);
      await reach('Frozen');
    });
    // One after the other: a container's dump keeps a core busy, and the runtime walks its whole root file system.
    for (const { name } of request.containers) {
      if (Object.hasOwn(record.archives, name)) continue;
      signal.throwIfAborted();
      const path = await step('checkpoint', () => this.#checkpoint(record, name));
      record.archives[name] = { path, bytes: (await stat(path)).size };
      await hooks.save();
    }
    await reach('Checkpointed');
    await step('ship', async () => {
      await together(signal, (stop) => [
        ...request.containers.map(({ name }) => this.#ship(record, name, hooks, stop)),
        this.#shipVolumes(uid, record, hooks, stop),
      ]);
      await this.assertFrozen(record, signal);
    });
    await reach('Shipped');
  }

  /** Ships the archives of a held pod once more, to where the record's request says now. */
  async again(uid: string, record: SourceRecord, signal: AbortSignal): Promise<void> {
    const { request, archives } = record;
    await Promise.all([
      ...Object.entries(archives).map(([name, { path }]) => this.#ports.ship(request, name, path, () => undefined, signal)),
      ...(request.volumes.length ? [this.#ports.shipVolumes(uid, request, () => undefined, signal)] : []),
    ]);
  }

  /**
   * The very processes that were paused are paused still; else what was archived is not what runs.
   *
   * @throws Error that names the container and what became of it
   */
  async assertFrozen(record: SourceRecord, signal: AbortSignal): Promise<void> {
    const now = await this.#ports.runtime.containersOf(record.request.podUid, signal);
    for (const { id, name, pid } of record.frozen) {
      const found: RunningContainer | undefined = now.find((container) => container.id === id);
      if (!found || found.pid !== pid)
        throw new Error(`container ${name} ended while it was frozen; see the events of the pod (a probe, memory, somebody's kill)`);
      if (!found.paused) throw new Error(`container ${name} was resumed by somebody else while it was frozen`);
    }
  }

  /** Flushes the archives to the disk: from the hold on they are one of the two copies. */
  async sync(record: SourceRecord): Promise<void> {
    await Promise.all(
      Object.values(record.archives).map(async ({ path }) => {
        await using file = await open(path, 'r');
        await file.sync();
      }),
    );
  }

  async removeArchives(uid: string, record: SourceRecord): Promise<void> {
    await this.#ports.removeVolumes(uid);
    await Promise.all(Object.values(record.archives).map(({ path }) => rm(path, { force: true })));
  }

  async #freeze(record: SourceRecord, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    const { runtime } = this.#ports;
    const { namespace, pod, podUid, containers: names } = record.request;
    const containers = await runtime.containersOf(podUid, signal);
    const wanted = names.map(({ name }) => {
      const found = containers.find((container) => container.name === name);
      if (!found) throw new Error(`container ${name} of pod ${namespace}/${pod} does not run in the runtime of this node`);
      return found;
    });
    // Remembered before the first pause: whoever takes over after a crash has to know what may be paused.
    record.frozen = wanted.map(({ id, name, pid }) => ({ id, name, pid }));
    await hooks.save();
    // All to their end: a pause that was still under way when another failed would outlive the resume.
    const paused = await Promise.allSettled(wanted.map((container) => runtime.pause(container.id, signal)));
    for (const outcome of paused) if (outcome.status === 'rejected') throw outcome.reason;
    signal.throwIfAborted();
    record.frozenAt ??= new Date(this.#ports.now()).toISOString();
    hooks.frozen();
  }

  /** Not cut off by a stop: the runtime would go on all the same, and its archive would be left without an owner. */
  async #checkpoint(record: SourceRecord, name: string): Promise<string> {
    try {
      return await this.#ports.checkpoint(record.request, name);
    } catch (error) {
      const id = record.frozen.find((container) => container.name === name)?.id ?? '';
      const log = await this.#ports.runtime.criuLog(id);
      const lines = log?.split('\n').filter((line) => /Error/.test(line)) ?? [];
      const said = lines.slice(0, 4).map((line) => line.trim());
      throw new Error([`container ${name}: ${messageOf(error)}`, ...(said.length ? [`CRIU: ${said.join('; ')}`] : [])].join('; '), {
        cause: error,
      });
    }
  }

  async #ship(record: SourceRecord, name: string, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    const archive = record.archives[name];
    if (!archive || Object.hasOwn(record.shipped, name)) return;
    record.shipped[name] = await this.#ports.ship(record.request, name, archive.path, (bytes) => hooks.progress(name, bytes), signal);
    await hooks.save();
  }

  async #shipVolumes(uid: string, record: SourceRecord, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    if (record.request.volumes.length === 0 || record.shipped[volumesKey]) return;
    record.shipped[volumesKey] = await this.#ports.shipVolumes(uid, record.request, (bytes) => hooks.progress(volumesKey, bytes), signal);
    await hooks.save();
  }
}

/** Runs parts of one thing at the same time: the first that fails ends the others, and nothing goes on after this. */
async function together(signal: AbortSignal, begin: (stop: AbortSignal) => Promise<void>[]): Promise<void> {
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  let first: { error: unknown } | undefined;
  try {
    await Promise.all(
      begin(stop.signal).map((part) =>
        part.catch((error: unknown) => {
          first ??= { error };
          stop.abort(error);
        }),
      ),
    );
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  if (first) throw first.error;
}
