import { open, rm, stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { SourceErrorStep, SourceRequest, SourceState, SourceView } from '../api/agent.ts';
import { Changes } from '../util/changes.ts';
import { messageOf } from '../util/errors.ts';
import type { Records } from './records.ts';
import type { RunningContainer, Runtime } from './runtime.ts';

/** What a source's agent must remember of a migration. */
export interface SourceRecord {
  request: SourceRequest;
  state: SourceState;
  /** Ends the freeze, unless held. Milliseconds since the epoch. */
  leaseExpires: number;
  frozenAt?: string;
  /** The containers as they were when they were paused; archives are only good while these very processes stay so. */
  frozen: { id: string; name: string; pid: number }[];
  archives: Record<string, { path: string; bytes: number }>;
  shipped: Record<string, { digest: string; bytes: number }>;
  error?: { step: SourceErrorStep; message: string };
}

/** How the source's keeper reaches the world; real in `run.ts`. */
export interface SourcePorts {
  runtime: Runtime;
  /** Ends within the time the request allows. */
  checkpoint(request: SourceRequest, container: string): Promise<string>;
  ship(
    request: SourceRequest,
    container: string,
    archive: string,
    progress: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<{ digest: string; bytes: number }>;
  /** From the pod's directories, or, when the pod is gone, from the copy that was kept of them (`keepVolumes`). */
  shipVolumes(
    uid: string,
    request: SourceRequest,
    progress: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<{ digest: string; bytes: number }>;
  /** Removes that copy. */
  removeVolumes(uid: string): Promise<void>;
  now(): number;
}

interface Entry {
  record: SourceRecord;
  revision: number;
  sent: Map<string, number>;
  /** Under way towards `Shipped`. */
  work?: { done: Promise<void>; stop: AbortController };
  lease?: NodeJS.Timeout;
  lastNotified: number;
}

/** Key of `shipped` for the volumes, which are one image beside the containers'; no container can be named so. */
const volumesKey = '/volumes';

/** How often progress is told. Milliseconds. */
const progressInterval = 500;

class StepError extends Error {
  readonly step: SourceErrorStep;
  constructor(step: SourceErrorStep, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.step = step;
  }
}

/**
 * Pods on their way out. One rule above all: a pod is resumed by its agent alone only while it is not held, and once
 * it was resumed its archives are worth nothing; so `Running` is written down before the processes go on, and `Held`
 * before anybody hears of it.
 */
export class SourceKeeper {
  readonly #ports: SourcePorts;
  readonly #records: Records<SourceRecord>;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #changes = new Changes();

  constructor(ports: SourcePorts, records: Records<SourceRecord>, log: Logger) {
    this.#ports = ports;
    this.#records = records;
    this.#log = log;
  }

  /** Takes up what an earlier process of this agent left: goes on while the lease holds, resumes where it has run out. */
  async start(): Promise<void> {
    const { records, damaged } = await this.#records.load();
    for (const path of damaged) this.#log.error({ path }, 'a record cannot be read; the pod it is about stays as it is');
    for (const [uid, record] of records) {
      const entry: Entry = { record, revision: 1, sent: new Map(), lastNotified: 0 };
      this.#entries.set(uid, entry);
      if (record.state === 'Held') continue;
      if (record.state === 'Running') void this.#resume(uid, entry);
      else {
        this.#armLease(uid, entry);
        if (record.state !== 'Shipped') this.#work(uid, entry);
      }
    }
  }

  view(uid: string): SourceView {
    const entry = this.#entries.get(uid);
    if (!entry) return { revision: 0, state: 'Unknown', containers: [] };
    const { record, revision, sent } = entry;
    return {
      revision,
      state: record.state,
      ...(record.frozenAt ? { frozenAt: record.frozenAt } : {}),
      ...(record.state === 'Held' || record.state === 'Running' ? {} : { leaseLeft: Math.max(0, record.leaseExpires - this.#ports.now()) }),
      ...(record.error ? { error: record.error } : {}),
      ...(record.state === 'Held' && entry.work ? { returning: true } : {}),
      containers: record.request.containers.map(({ name }) => {
        const archive = record.archives[name];
        const shipped = record.shipped[name];
        return {
          name,
          bytesSent: shipped?.bytes ?? sent.get(name) ?? 0,
          ...(archive ? { archiveBytes: archive.bytes } : {}),
          ...(shipped ? { digest: shipped.digest } : {}),
        };
      }),
    };
  }

  /** The view once its revision is past the given one, or after `limit` milliseconds. */
  async wait(uid: string, revision: number, limit: number, signal: AbortSignal): Promise<SourceView> {
    if (this.view(uid).revision === revision) await this.#changes.next(uid, limit, signal);
    return this.view(uid);
  }

  /** Sets the goal, and renews the lease. Answers at once, except where the answer is a promise (`Held`, `Resumed`). */
  async set(uid: string, request: SourceRequest): Promise<SourceView> {
    let entry = this.#entries.get(uid);
    switch (request.goal) {
      case 'Shipped': {
        if (!entry) {
          entry = {
            record: { request, state: 'Freezing', leaseExpires: 0, frozen: [], archives: {}, shipped: {} },
            revision: 0,
            sent: new Map(),
            lastNotified: 0,
          };
          this.#entries.set(uid, entry);
        }
        if (entry.record.state === 'Running' || entry.record.state === 'Held') return this.view(uid);
        entry.record.leaseExpires = this.#ports.now() + request.leaseMilliseconds;
        await this.#save(uid, entry);
        this.#armLease(uid, entry);
        if (entry.record.state !== 'Shipped') this.#work(uid, entry);
        return this.view(uid);
      }
      case 'Held': {
        if (entry?.record.state !== 'Shipped') return this.view(uid);
        return this.#hold(uid, entry);
      }
      case 'Resumed': {
        if (!entry) return this.view(uid);
        await this.#resume(uid, entry);
        return this.view(uid);
      }
      case 'Returned': {
        if (entry?.record.state === 'Held') this.#return(uid, entry, request);
        return this.view(uid);
      }
    }
  }

  /** Removes archives and record. The pod is left as it is: whoever forgets a held one has removed it. */
  async forget(uid: string): Promise<void> {
    const entry = this.#entries.get(uid);
    if (!entry) return;
    clearTimeout(entry.lease);
    entry.work?.stop.abort();
    await entry.work?.done;
    await this.#removeArchives(uid, entry);
    await this.#records.remove(uid);
    this.#entries.delete(uid);
    this.#changes.notify(uid);
  }

  async stop(): Promise<void> {
    for (const entry of this.#entries.values()) {
      clearTimeout(entry.lease);
      entry.work?.stop.abort();
    }
    await Promise.all([...this.#entries.values()].map((entry) => entry.work?.done));
  }

  #work(uid: string, entry: Entry): void {
    if (entry.work) return;
    const stop = new AbortController();
    const done = this.#run(uid, entry, stop.signal).then(
      () => {
        delete entry.work;
      },
      (error: unknown) => {
        delete entry.work;
        // Stopped on purpose: whoever stopped it says what becomes of the pod.
        if (stop.signal.aborted) return;
        const step = error instanceof StepError ? error.step : 'ship';
        const message = error instanceof Error ? error.message : String(error);
        this.#log.warn({ migration: uid, step, message }, 'the source could not be moved; it is resumed');
        void this.#resume(uid, entry, { step, message });
      },
    );
    entry.work = { done, stop };
  }

  /**
   * Ships the archives of a held pod to this node's own agent. The record stays `Held`, with the archives in it: what a
   * crash or a failure leaves undone is asked for again.
   */
  #return(uid: string, entry: Entry, request: SourceRequest): void {
    if (entry.work) return;
    const stop = new AbortController();
    const { record } = entry;
    record.request = request;
    const ship = async () => {
      await this.#records.write(uid, record);
      const parts = Object.entries(record.archives).filter(([name]) => name !== volumesKey);
      await Promise.all([
        ...parts.map(([name, { path }]) => this.#ports.ship(request, name, path, () => undefined, stop.signal)),
        ...(request.volumes.length ? [this.#ports.shipVolumes(uid, request, () => undefined, stop.signal)] : []),
      ]);
    };
    const done = ship()
      .catch((error: unknown) => {
        this.#log.warn({ migration: uid, error: messageOf(error) }, 'the archives could not be made ready for a return; it is tried again');
      })
      .finally(() => {
        delete entry.work;
        entry.revision++;
        this.#changes.notify(uid);
      });
    entry.work = { done, stop };
    entry.revision++;
    this.#changes.notify(uid);
  }

  async #run(uid: string, entry: Entry, signal: AbortSignal): Promise<void> {
    const { record } = entry;
    const { request } = record;
    await step('freeze', () => this.#freeze(uid, entry, signal));
    // One after the other: a container's dump keeps a core busy, and the runtime walks its whole root file system.
    for (const { name } of request.containers) {
      if (record.archives[name]) continue;
      signal.throwIfAborted();
      const path = await step('checkpoint', () => this.#checkpoint(entry, name));
      record.archives[name] = { path, bytes: (await stat(path)).size };
      await this.#save(uid, entry);
    }
    await this.#reach(uid, entry, 'Checkpointed', signal);
    await step('ship', async () => {
      await Promise.all([
        ...request.containers.map(({ name }) => this.#ship(uid, entry, name, signal)),
        this.#shipVolumes(uid, entry, signal),
      ]);
    });
    await step('ship', () => this.#assertFrozen(entry, signal));
    await this.#reach(uid, entry, 'Shipped', signal);
  }

  /** A step on the way is done, unless the way was given up meanwhile. */
  async #reach(uid: string, entry: Entry, state: SourceState, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    entry.record.state = state;
    await this.#save(uid, entry);
  }

  async #freeze(uid: string, entry: Entry, signal: AbortSignal): Promise<void> {
    const { record } = entry;
    const { runtime } = this.#ports;
    if (record.state !== 'Freezing') {
      await this.#assertFrozen(entry, signal);
      return;
    }
    const containers = await runtime.containersOf(record.request.podUid, signal);
    const wanted = record.request.containers.map(({ name }) => {
      const found = containers.find((container) => container.name === name);
      if (!found)
        throw new Error(
          `container ${name} of pod ${record.request.namespace}/${record.request.pod} does not run in the runtime of this node`,
        );
      return found;
    });
    // Remembered before the first pause: whoever takes over after a crash has to know what may be paused.
    record.frozen = wanted.map(({ id, name, pid }) => ({ id, name, pid }));
    await this.#save(uid, entry);
    await Promise.all(wanted.map((container) => runtime.pause(container.id, signal)));
    record.frozenAt ??= new Date(this.#ports.now()).toISOString();
    await this.#reach(uid, entry, 'Frozen', signal);
  }

  /** Not cut off by a stop: the runtime would go on all the same, and its archive would be left without an owner. */
  async #checkpoint(entry: Entry, name: string): Promise<string> {
    const { request, frozen } = entry.record;
    try {
      return await this.#ports.checkpoint(request, name);
    } catch (error) {
      const id = frozen.find((container) => container.name === name)?.id ?? '';
      const log = await this.#ports.runtime.criuLog(id);
      const said =
        log
          ?.split('\n')
          .filter((line) => /Error/.test(line))
          .slice(0, 4)
          .map((line) => line.trim()) ?? [];
      const message = error instanceof Error ? error.message : String(error);
      throw new Error([`container ${name}: ${message}`, ...(said.length ? [`CRIU: ${said.join('; ')}`] : [])].join('; '), { cause: error });
    }
  }

  async #ship(uid: string, entry: Entry, name: string, signal: AbortSignal): Promise<void> {
    const { record } = entry;
    const archive = record.archives[name];
    if (!archive || record.shipped[name]) return;
    record.shipped[name] = await this.#ports.ship(
      record.request,
      name,
      archive.path,
      (bytes) => this.#progress(uid, entry, name, bytes),
      signal,
    );
    await this.#save(uid, entry);
  }

  async #shipVolumes(uid: string, entry: Entry, signal: AbortSignal): Promise<void> {
    const { record } = entry;
    if (record.request.volumes.length === 0 || record.shipped[volumesKey]) return;
    record.shipped[volumesKey] = await this.#ports.shipVolumes(
      uid,
      record.request,
      (bytes) => this.#progress(uid, entry, volumesKey, bytes),
      signal,
    );
    await this.#save(uid, entry);
  }

  /** The very processes that were paused are paused still; else what was archived is not what runs. */
  async #assertFrozen(entry: Entry, signal: AbortSignal): Promise<void> {
    const { record } = entry;
    const now = await this.#ports.runtime.containersOf(record.request.podUid, signal);
    for (const { id, name, pid } of record.frozen) {
      const found: RunningContainer | undefined = now.find((container) => container.id === id);
      if (!found || found.pid !== pid)
        throw new Error(`container ${name} ended while it was frozen; see the events of the pod (a probe, memory, somebody's kill)`);
      if (!found.paused) throw new Error(`container ${name} was resumed by somebody else while it was frozen`);
    }
  }

  async #hold(uid: string, entry: Entry): Promise<SourceView> {
    const { record } = entry;
    try {
      await this.#assertFrozen(entry, AbortSignal.timeout(10_000));
    } catch (error) {
      await this.#resume(uid, entry, { step: 'lease', message: error instanceof Error ? error.message : String(error) });
      return this.view(uid);
    }
    await Promise.all(Object.values(record.archives).map(({ path }) => sync(path)));
    // The lease may have run out during these awaits.
    if (record.state !== 'Shipped') return this.view(uid);
    clearTimeout(entry.lease);
    record.state = 'Held';
    await this.#save(uid, entry);
    return this.view(uid);
  }

  async #resume(uid: string, entry: Entry, error?: { step: SourceErrorStep; message: string }): Promise<void> {
    const { record } = entry;
    clearTimeout(entry.lease);
    record.state = 'Running';
    entry.work?.stop.abort();
    await entry.work?.done;
    if (error) record.error = error;
    await this.#records.write(uid, record);
    const failures: string[] = [];
    await Promise.all(
      record.frozen.map(async ({ id, name }) => {
        try {
          await this.#ports.runtime.resume(id, AbortSignal.timeout(20_000));
        } catch (cause) {
          failures.push(`container ${name}: ${cause instanceof Error ? cause.message : cause}`);
        }
      }),
    );
    if (failures.length) {
      this.#log.error({ migration: uid, pod: record.request.pod, failures }, 'the pod could not be resumed; trying again');
      entry.lease = setTimeout(() => void this.#resume(uid, entry), 1000);
      return;
    }
    await this.#removeArchives(uid, entry);
    record.archives = {};
    await this.#save(uid, entry);
  }

  #armLease(uid: string, entry: Entry): void {
    clearTimeout(entry.lease);
    const { record } = entry;
    entry.lease = setTimeout(
      () => {
        if (record.state === 'Held' || record.state === 'Running') return;
        const message = 'the controller was not heard from in time, so the lease of the freeze ran out and the pod was resumed';
        this.#log.warn({ migration: uid, pod: record.request.pod }, message);
        void this.#resume(uid, entry, { step: 'lease', message });
      },
      Math.max(0, record.leaseExpires - this.#ports.now()),
    );
  }

  async #removeArchives(uid: string, entry: Entry): Promise<void> {
    await this.#ports.removeVolumes(uid);
    await Promise.all(Object.values(entry.record.archives).map(({ path }) => rm(path, { force: true })));
  }

  async #save(uid: string, entry: Entry): Promise<void> {
    await this.#records.write(uid, entry.record);
    entry.revision++;
    this.#changes.notify(uid);
  }

  #progress(uid: string, entry: Entry, name: string, bytes: number): void {
    entry.sent.set(name, bytes);
    const now = this.#ports.now();
    if (now - entry.lastNotified < progressInterval) return;
    entry.lastNotified = now;
    entry.revision++;
    this.#changes.notify(uid);
  }
}

async function step<Value>(name: SourceErrorStep, run: () => Promise<Value>): Promise<Value> {
  try {
    return await run();
  } catch (error) {
    throw error instanceof StepError ? error : new StepError(name, error);
  }
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
