import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { SourceErrorStep, SourceRequest, SourceState, SourceView } from '../api/agent.ts';
import { Changes } from '../util/changes.ts';
import { messageOf } from '../util/errors.ts';
import { TokenBucket } from '../util/pace.ts';
import type { Records } from './records.ts';
import { endOfFreeze, type SourcePorts, type SourceRecord, StepError, type WorkHooks } from './source-record.ts';
import { SourceWork } from './source-work.ts';

export type { SourcePorts, SourceRecord } from './source-record.ts';

interface Entry {
  record: SourceRecord;
  revision: number;
  sent: Map<string, number>;
  /** Of memory, while the pod still runs. */
  ahead: Map<string, number>;
  /** What archives and volumes share of the network. */
  pace: TokenBucket;
  /** Under way towards `Shipped`, or back to this node. */
  work?: { done: Promise<void>; stop: AbortController };
  resuming?: Promise<void>;
  /** `Held` is being written: a renewal of the lease written after it would undo it. */
  holding?: Promise<void>;
  lease?: NodeJS.Timeout;
  /** Looks after the held processes. */
  guard?: NodeJS.Timeout;
  /** Flushes the archives; as long as they are wanted. */
  flush?: NodeJS.Timeout;
  lastNotified: number;
  /** That it has come further is told then. */
  telling?: NodeJS.Timeout;
}

type Failure = NonNullable<SourceRecord['error']>;

/** That a migration was over here. */
export interface Forgotten {
  /** RFC 3339. */
  at: string;
}

/** How long that is remembered. Milliseconds. */
const forgottenFor = 24 * 3600_000;

/** How often progress is told: with each telling the controller looks anew and writes the status. Milliseconds. */
const progressInterval = 1000;

/** How often it is looked whether the held processes are still there. Milliseconds. */
const guardInterval = 2000;

/**
 * From the hold until the archives are flushed. A power cut before takes what would have died with it in any case, and the destination
 * has all of it on its disk by then. Written at once it holds up the dump, the destination's disk if that is the same, and the restore; and mostly
 * the archives are gone before that (ADR 15). Milliseconds.
 */
const flushAfter = 5000;

/** Between two tries to resume a pod whose runtime does not answer. Milliseconds. */
const resumeInterval = 1000;

/** What one look at the runtime may take. Milliseconds. */
const lookDeadline = 10_000;

/**
 * Pods on their way out. One rule above all: a pod is resumed by its agent alone only while it is not held, and once
 * it was resumed its archives are worth nothing. So `Resuming` is written down before the processes go on and `Running`
 * is shown only afterwards; `Held` is on the disk before anybody can see it.
 */
export class SourceKeeper {
  readonly #ports: SourcePorts;
  readonly #records: Records<SourceRecord>;
  readonly #forgotten: Records<Forgotten>;
  readonly #log: Logger;
  readonly #work: SourceWork;
  readonly #entries = new Map<string, Entry>();
  readonly #changes = new Changes();
  readonly #stopping = new AbortController();

  constructor(ports: SourcePorts, records: Records<SourceRecord>, forgotten: Records<Forgotten>, log: Logger) {
    this.#ports = ports;
    this.#records = records;
    this.#forgotten = forgotten;
    this.#log = log;
    this.#work = new SourceWork(ports);
  }

  /** Takes up what an earlier process of this agent left: goes on while the lease holds, resumes where it has run out. */
  async start(): Promise<void> {
    await this.#sweepForgotten();
    const { records, damaged } = await this.#records.load();
    for (const path of damaged) this.#log.error({ path }, 'a record cannot be read; the pod it is about stays as it is');
    for (const [uid, record] of records) {
      const entry: Entry = {
        record,
        revision: 1,
        sent: new Map(),
        ahead: new Map(),
        pace: new TokenBucket(record.request.bytesPerSecond),
        lastNotified: 0,
      };
      this.#entries.set(uid, entry);
      switch (record.state) {
        case 'Held':
          this.#keepArchives(uid, entry);
          this.#watchOver(uid, entry);
          break;
        case 'Resuming':
          void this.#resume(uid, entry);
          break;
        case 'Freezing':
        case 'Frozen':
        case 'Checkpointed':
          this.#armLease(uid, entry);
          this.#begin(uid, entry);
          break;
        case 'Shipped':
          this.#armLease(uid, entry);
          break;
        case 'Running':
        case 'Unknown':
          break;
      }
    }
  }

  view(uid: string): SourceView {
    const entry = this.#entries.get(uid);
    if (!entry) return { revision: 0, state: 'Unknown', containers: [] };
    const { record, revision, sent, ahead, pace } = entry;
    const leased = record.state !== 'Held' && record.state !== 'Resuming' && record.state !== 'Running';
    const returnFailure = record.archivesLost ?? record.returnFailure;
    return {
      revision,
      state: record.state,
      ...(record.frozenAt ? { frozenAt: record.frozenAt } : {}),
      ...(record.checkpointedAt ? { checkpointedAt: record.checkpointedAt } : {}),
      ...(record.state === 'Freezing' && !record.frozenAt && ahead.size > 0
        ? { aheadBytes: [...ahead.values()].reduce((sum, bytes) => sum + bytes, 0) }
        : {}),
      ...(leased ? { leaseLeft: Math.max(0, record.leaseExpires - this.#ports.now()) } : {}),
      bytesPerSecond: pace.rate ?? null,
      ...(record.error ? { error: record.error } : {}),
      ...(record.lost ? { lost: record.lost } : {}),
      ...(record.state === 'Held' && entry.work ? { returning: true } : {}),
      ...(returnFailure === undefined ? {} : { returnFailure }),
      containers: record.request.containers.map(({ name }) => {
        const archive = record.archives[name];
        const shipped = record.shipped[name];
        const layers = record.warm?.[name];
        return {
          name,
          bytesSent: shipped?.bytes ?? sent.get(name) ?? 0,
          ...(archive ? { archiveBytes: archive.bytes } : {}),
          ...(layers?.length ? { warmBytes: layers.map(({ bytes }) => bytes) } : {}),
          ...(shipped ? { digest: shipped.digest } : {}),
        };
      }),
    };
  }

  list(): { uid: string; state: SourceState }[] {
    return [...this.#entries].map(([uid, { record }]) => ({ uid, state: record.state }));
  }

  /** The view once its revision is past the given one, or after `limit` milliseconds. */
  async wait(uid: string, revision: number, limit: number, signal: AbortSignal): Promise<SourceView> {
    if (this.view(uid).revision === revision) await this.#changes.next(uid, limit, signal);
    return this.view(uid);
  }

  /** Sets the goal, and renews the lease. Answers at once, except where the answer is a promise (`Held`, `Resumed`). */
  async set(uid: string, request: SourceRequest): Promise<SourceView> {
    // A goal that was under way when the migration was over here: it must not freeze the pod again.
    if (await this.#forgotten.has(uid)) return this.view(uid);
    const entry = this.#entries.get(uid);
    switch (request.goal) {
      case 'Shipped':
        await this.#ship(uid, entry ?? this.#newEntry(uid, request), request);
        break;
      case 'Held':
        if (entry?.record.state === 'Shipped') {
          entry.holding ??= this.#hold(uid, entry).finally(() => {
            delete entry.holding;
          });
          await entry.holding;
        }
        break;
      case 'Resumed':
        if (entry && entry.record.state !== 'Running' && !(await this.#isLost(uid, entry))) await this.#resume(uid, entry);
        break;
      case 'Returned':
        if (entry?.record.state === 'Held' && entry.record.archivesLost === undefined) this.#return(uid, entry, request);
        break;
    }
    return this.view(uid);
  }

  /**
   * The runtime went away. containerd does not know a paused container any more when it comes back ("unexpected task status",
   * internal/cri/server/restart.go), and the kubelet ends what is unknown: so pods that are not held go on before it does.
   */
  runtimeLost(): void {
    for (const [uid, entry] of this.#entries) {
      switch (entry.record.state) {
        case 'Freezing':
        case 'Frozen':
        case 'Checkpointed':
        case 'Shipped':
          void this.#resume(uid, entry, { step: 'freeze', message: 'the container runtime of the node stopped, so the pod was resumed' });
          break;
        case 'Held':
        case 'Resuming':
        case 'Running':
        case 'Unknown':
          break;
      }
    }
  }

  /** Removes archives and record. The pod is left as it is: whoever forgets a held one has removed it. */
  async forget(uid: string): Promise<void> {
    const entry = this.#entries.get(uid);
    if (!entry) return;
    // Its record is what brings the pod back after a crash of this process.
    await entry.resuming;
    if (entry.record.state === 'Resuming') throw new Error(`pod ${entry.record.request.pod} is not resumed yet`);
    clearTimeout(entry.lease);
    clearInterval(entry.guard);
    this.#leaveArchives(entry);
    entry.work?.stop.abort();
    await entry.work?.done;
    await this.#work.removeArchives(uid, entry.record);
    await this.#forgotten.write(uid, { at: new Date(this.#ports.now()).toISOString() });
    await this.#records.remove(uid);
    this.#entries.delete(uid);
    this.#changes.notify(uid);
  }

  /** Ends the work; pods stay as they are, and the records say how. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the agent is ending'));
    for (const entry of this.#entries.values()) {
      clearTimeout(entry.lease);
      clearInterval(entry.guard);
      clearTimeout(entry.flush);
      entry.work?.stop.abort();
    }
    await Promise.all([...this.#entries.values()].flatMap((entry) => [entry.work?.done, entry.resuming]));
  }

  /** Nobody's goal is under way for so long. */
  async #sweepForgotten(): Promise<void> {
    const { records } = await this.#forgotten.load();
    for (const [uid, { at }] of records) if (Date.parse(at) + forgottenFor < this.#ports.now()) await this.#forgotten.remove(uid);
  }

  #newEntry(uid: string, request: SourceRequest): Entry {
    const entry: Entry = {
      record: { request, state: 'Freezing', leaseExpires: 0, frozen: [], archives: {}, shipped: {} },
      revision: 0,
      sent: new Map(),
      ahead: new Map(),
      pace: new TokenBucket(request.bytesPerSecond),
      lastNotified: 0,
    };
    this.#entries.set(uid, entry);
    return entry;
  }

  async #ship(uid: string, entry: Entry, request: SourceRequest): Promise<void> {
    const { record } = entry;
    if (entry.holding || record.state === 'Resuming' || record.state === 'Running' || record.state === 'Held') return;
    record.leaseExpires = this.#ports.now() + request.leaseMilliseconds;
    // The rest of the request stays as it was begun with.
    const { bytesPerSecond, ...begun } = record.request;
    record.request = { ...begun, ...(request.bytesPerSecond === undefined ? {} : { bytesPerSecond: request.bytesPerSecond }) };
    entry.pace.setRate(request.bytesPerSecond);
    await this.#save(uid, entry);
    this.#armLease(uid, entry);
    if (record.state !== 'Shipped') this.#begin(uid, entry);
  }

  #begin(uid: string, entry: Entry): void {
    if (entry.work) return;
    const stop = new AbortController();
    const done = this.#work.run(uid, entry.record, this.#hooks(uid, entry), stop.signal).then(
      () => {
        delete entry.work;
      },
      (error: unknown) => {
        delete entry.work;
        // Stopped on purpose: whoever stopped it says what becomes of the pod.
        if (stop.signal.aborted) return;
        const failure: Failure = { step: error instanceof StepError ? error.step : 'ship', message: messageOf(error) };
        this.#log.warn({ migration: uid, ...failure }, 'the source could not be moved; it is resumed');
        void this.#resume(uid, entry, failure);
      },
    );
    entry.work = { done, stop };
  }

  #hooks(uid: string, entry: Entry): WorkHooks {
    return {
      save: () => this.#save(uid, entry),
      saveLater: () => {
        this.#records
          .write(uid, entry.record)
          .catch((error: unknown) =>
            this.#log.warn({ migration: uid, error: messageOf(error) }, 'the record could not be written; what rests on it will say so'),
          );
        this.#told(uid, entry);
      },
      progress: (part, bytes) => this.#progress(uid, entry, entry.sent, part, bytes),
      ahead: (part, bytes) => this.#progress(uid, entry, entry.ahead, part, bytes),
      frozen: () => {
        this.#armLease(uid, entry);
        // What comes in the next moments is not worth a look: with little memory all is over by then.
        entry.lastNotified = this.#ports.now();
        clearTimeout(entry.telling);
        delete entry.telling;
      },
      note: (message) => this.#log.warn({ migration: uid, pod: entry.record.request.pod }, message),
      pace: entry.pace,
    };
  }

  async #hold(uid: string, entry: Entry): Promise<void> {
    const { record } = entry;
    try {
      await Promise.all([this.#work.assertFrozen(record, AbortSignal.timeout(lookDeadline)), this.#work.assertArchived(record)]);
    } catch (error) {
      return this.#resume(uid, entry, { step: 'lease', message: messageOf(error) });
    }
    // The lease may have run out meanwhile.
    if (record.state !== 'Shipped') return;
    clearTimeout(entry.lease);
    try {
      await this.#records.write(uid, { ...record, state: 'Held', unflushedBoot: this.#ports.boot });
    } catch (error) {
      this.#armLease(uid, entry);
      throw error;
    }
    // A resume that came meanwhile was written after it.
    if (record.state !== 'Shipped') return;
    record.state = 'Held';
    record.unflushedBoot = this.#ports.boot;
    this.#keepArchives(uid, entry);
    this.#watchOver(uid, entry);
    this.#changed(uid, entry);
  }

  /** From the hold on archives outlive the power of their node, if it does not fail at once. */
  #keepArchives(uid: string, entry: Entry): void {
    const { record } = entry;
    if (record.unflushedBoot === undefined || record.archivesLost !== undefined) return;
    if (record.unflushedBoot === this.#ports.boot) entry.flush = setTimeout(() => void this.#flush(uid, entry), flushAfter);
    else this.#lose(uid, record, 'the node was started again before they were on its disk');
  }

  async #flush(uid: string, entry: Entry): Promise<void> {
    const { record } = entry;
    try {
      await this.#work.flush(record);
      if (!entry.flush) return;
      delete record.unflushedBoot;
    } catch (error) {
      if (!entry.flush) return;
      // Asked once more the kernel would say that all is well (fsync(2), EIO).
      this.#lose(uid, record, `the disk failed when they were flushed: ${messageOf(error)}`);
    }
    await this.#save(uid, entry).catch((error: unknown) =>
      this.#log.warn({ migration: uid, error: messageOf(error) }, 'that the archives were flushed could not be written down'),
    );
  }

  /** They are about to be removed: whether they can be flushed does not matter, and nothing is written down about them any more. */
  #leaveArchives(entry: Entry): void {
    clearTimeout(entry.flush);
    delete entry.flush;
  }

  #lose(uid: string, record: SourceRecord, why: string): void {
    record.archivesLost = why;
    const { namespace, pod } = record.request;
    this.#log.error({ migration: uid, pod: `${namespace}/${pod}`, why }, 'the archives are lost; the destination has the other copy');
  }

  /** A held pod whose processes have ended has nothing to resume, and its archives are all there is of it. */
  async #isLost(uid: string, entry: Entry): Promise<boolean> {
    const { record } = entry;
    if (record.state !== 'Held') return false;
    if (!record.lost) await this.#look(uid, entry);
    return record.lost !== undefined;
  }

  /** Says when the held processes end although nobody of podferry ended them: then only the archives hold the state. */
  #watchOver(uid: string, entry: Entry): void {
    const { record } = entry;
    if (record.lost) return;
    entry.guard = setInterval(() => {
      // A runtime that does not answer says nothing of the processes.
      this.#look(uid, entry).catch((error: unknown) =>
        this.#log.debug({ migration: uid, error: messageOf(error) }, 'the held pod could not be looked at'),
      );
    }, guardInterval);
  }

  async #look(uid: string, entry: Entry): Promise<void> {
    const { record } = entry;
    const running = await this.#ports.runtime.containersOf(record.request.podUid, AbortSignal.timeout(lookDeadline));
    const gone = record.frozen.find(({ id, pid }) => !running.some((container) => container.id === id && container.pid === pid));
    if (!gone || record.state !== 'Held') return;
    clearInterval(entry.guard);
    record.lost = `container ${gone.name} of the frozen pod ended (a probe, memory, or somebody deleted the pod)`;
    await this.#save(uid, entry);
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
    const done = this.#records
      .write(uid, record)
      .then(() => this.#work.again(uid, record, stop.signal))
      .then(
        () => {
          delete record.returnFailure;
        },
        (error: unknown) => {
          record.returnFailure = messageOf(error);
          this.#log.warn({ migration: uid, error: messageOf(error) }, 'the archives could not be made ready for a return');
        },
      )
      .finally(() => {
        delete entry.work;
        this.#changed(uid, entry);
      });
    entry.work = { done, stop };
    this.#changed(uid, entry);
  }

  /** Once for all who ask. */
  #resume(uid: string, entry: Entry, error?: { step: SourceErrorStep; message: string }): Promise<void> {
    if (error) entry.record.error ??= error;
    entry.resuming ??= this.#letGo(uid, entry)
      .catch((failure: unknown) => this.#log.error({ migration: uid, error: messageOf(failure) }, 'the pod was not resumed'))
      .finally(() => {
        delete entry.resuming;
      });
    return entry.resuming;
  }

  async #letGo(uid: string, entry: Entry): Promise<void> {
    const { record } = entry;
    clearTimeout(entry.lease);
    clearInterval(entry.guard);
    this.#leaveArchives(entry);
    record.state = 'Resuming';
    entry.work?.stop.abort();
    await entry.work?.done;
    await this.#writeOrMakeRoom(uid, entry);
    while (!(await this.#resumeContainers(uid, record))) await sleep(resumeInterval, undefined, { signal: this.#stopping.signal });
    await this.#work.removeArchives(uid, record).catch((error: unknown) => {
      this.#log.warn({ migration: uid, error: messageOf(error) }, 'archives of a resumed pod could not be removed');
    });
    record.archives = {};
    delete record.unflushedBoot;
    delete record.archivesLost;
    record.state = 'Running';
    await this.#writeOrMakeRoom(uid, entry);
    this.#changed(uid, entry);
    // The destination does too, but may have done so while this was still pushing.
    if (record.request.transfer === 'Registry') void this.#ports.retract(record.request);
  }

  async #resumeContainers(uid: string, record: SourceRecord): Promise<boolean> {
    const resumed = await Promise.allSettled(record.frozen.map(({ id }) => this.#ports.runtime.resume(id, AbortSignal.timeout(20_000))));
    const failures = resumed.flatMap((outcome, index) =>
      outcome.status === 'rejected' ? [`container ${record.frozen[index]?.name}: ${messageOf(outcome.reason)}`] : [],
    );
    if (failures.length)
      this.#log.error({ migration: uid, pod: record.request.pod, failures }, 'the pod could not be resumed; trying again');
    return failures.length === 0;
  }

  /** On a full disk the archives, which are worth nothing now, are what has to go; a pod never stays frozen for want of room. */
  async #writeOrMakeRoom(uid: string, { record }: Entry): Promise<void> {
    try {
      await this.#records.write(uid, record);
    } catch {
      try {
        await this.#work.removeArchives(uid, record);
        await this.#records.write(uid, record);
      } catch (error) {
        // Should this process end now, the next one finds the pod running where its record says frozen, and resumes it.
        this.#log.error({ migration: uid, error: messageOf(error) }, 'the record could not be written');
      }
    }
  }

  #armLease(uid: string, entry: Entry): void {
    clearTimeout(entry.lease);
    const { record } = entry;
    entry.lease = setTimeout(
      () => {
        if (record.state === 'Held' || record.state === 'Resuming' || record.state === 'Running') return;
        const message =
          endOfFreeze(record) < record.leaseExpires
            ? `the pod was frozen for ${record.request.budgetMilliseconds} ms, and its liveness probe would have killed it soon, so it was resumed`
            : 'the controller was not heard from in time, so the lease of the freeze ran out and the pod was resumed';
        this.#log.warn({ migration: uid, pod: record.request.pod }, message);
        void this.#resume(uid, entry, { step: 'lease', message });
      },
      Math.max(0, endOfFreeze(record) - this.#ports.now()),
    );
  }

  async #save(uid: string, entry: Entry): Promise<void> {
    await this.#records.write(uid, entry.record);
    this.#told(uid, entry);
  }

  #told(uid: string, entry: Entry): void {
    const { record } = entry;
    // Nobody has to do anything about these, and each look of the controller's takes something from a node whose pod stands still.
    const isUnderWay = record.state === 'Freezing' || record.state === 'Frozen' || record.state === 'Checkpointed';
    if (!isUnderWay) this.#changed(uid, entry);
    else entry.telling ??= setTimeout(() => this.#changed(uid, entry), progressInterval).unref();
  }

  #progress(uid: string, entry: Entry, parts: Map<string, number>, part: string, bytes: number): void {
    parts.set(part, bytes);
    const now = this.#ports.now();
    if (now - entry.lastNotified < progressInterval) return;
    entry.lastNotified = now;
    this.#changed(uid, entry);
  }

  #changed(uid: string, entry: Entry): void {
    clearTimeout(entry.telling);
    delete entry.telling;
    entry.revision++;
    this.#changes.notify(uid);
  }
}
