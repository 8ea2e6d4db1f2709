import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SourceState } from '../api/agent.ts';
import { failureIn } from '../plan/criu-advice.ts';
import { messageOf } from '../util/errors.ts';
import { TokenBucket } from '../util/pace.ts';
import { together } from '../util/together.ts';
import { sync } from './disk.ts';
import { memoryOfPod } from './memory-of-pod.ts';
import { Rates } from './rates.ts';
import { assertRoom } from './room.ts';
import type { RunningContainer } from './runtime.ts';
import {
  type ArchiveToShip,
  type Flow,
  type SourcePorts,
  type SourceRecord,
  StepError,
  step,
  volumesKey,
  type WorkHooks,
} from './source-record.ts';
import { WarmRounds } from './warm-rounds.ts';

/**
 * What CRIU says when a process could not be seized at this very moment, but could at the next: it was frozen between
 * vfork and exec (its parent sleeps in the kernel, not in the freezer). Measured with CRIU 4.2.1 and cgroup v1.
 */
const passing = /Unseizable non-zombie/;

/** How often a pod is frozen at most until its checkpoint succeeds. */
const freezes = 3;

/**
 * Containers that are dumped at the same time: a dump keeps a core busy for the most part, and waits for the kernel for the rest. With
 * little memory most of it is programs that are started, and one more fits in.
 */
function dumpsAtOnce(memory: number | undefined): number {
  const cores = Math.max(2, availableParallelism());
  return memory !== undefined && memory <= littleMemory ? cores + 1 : cores;
}

/** Of all containers. Bytes. */
const littleMemory = 256 * 1024 * 1024;

/** Files that are flushed at the same time: what else waits for the disk has threads left. */
const flushesAtOnce = 4;

/** What getting memory ready may take while the pod runs: milliseconds, and of all the time there is. */
const mostAtHand = 60_000;
const shareAtHand = 0.2;

/** Of that, for a dump after which an earlier one is let go of piece by piece: until the first is. Bytes. */
const firstAtHand = 256 * 1024 * 1024;

/** How long the pod goes on between two of them. Milliseconds. */
const pauseBetween = 50;

/** Freezes, checkpoints and ships one pod; every step finds what an earlier process had done already. */
export class SourceWork {
  readonly #ports: SourcePorts;
  readonly #rates = new Rates();
  readonly #warm: WarmRounds;

  constructor(ports: SourcePorts) {
    this.#ports = ports;
    this.#warm = new WarmRounds(ports, this.#rates);
  }

  /** @throws StepError */
  async run(uid: string, record: SourceRecord, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    const enter = (state: SourceState) => {
      signal.throwIfAborted();
      record.state = state;
    };
    /** A step on the way is done, unless the way was given up meanwhile. */
    const reach = (state: SourceState) => {
      enter(state);
      return hooks.save();
    };
    /** The same, where an earlier step's record would do: what comes next need not wait for the disk. */
    const pass = (state: SourceState) => {
      enter(state);
      hooks.saveLater();
    };
    for (let tries = 1; ; tries++) {
      await step('freeze', async () => {
        if (record.state !== 'Freezing') return this.assertFrozen(record, signal);
        await this.#freeze(uid, record, hooks, signal);
        pass('Frozen');
      });
      try {
        const checkpointed = async () => {
          record.checkpointedAt = new Date(this.#ports.now()).toISOString();
          enter('Checkpointed');
          await this.#noteArchive(hooks);
        };
        await this.#checkpointAndShip(uid, record, checkpointed, hooks, signal);
        break;
      } catch (error) {
        if (tries === freezes || !(error instanceof StepError) || error.step !== 'checkpoint' || !passing.test(messageOf(error)))
          throw error;
        await step('freeze', () => this.#thaw(uid, record, reach, signal));
      }
    }
    pass('Shipped');
  }

  /**
   * Ships the archives of a held pod once more, to where the record's request says now.
   *
   * @throws Error when they are not what was shipped the first time
   */
  async again(uid: string, record: SourceRecord, signal: AbortSignal): Promise<void> {
    const { request, archives, shipped } = record;
    await together(signal, (stop) => [
      ...Object.entries(archives).map(async ([name, { path }]) => {
        const before = shipped[name];
        const archive = { path, whole: Promise.resolve(), ...(before ? { before } : {}) };
        await this.#ports.ship(request, name, archive, unlimited(), stop);
      }),
      ...(request.volumes.length ? [this.#shipKeptVolumes(uid, record, stop)] : []),
    ]);
  }

  /**
   * The very processes that were paused are paused still; else what was archived is not what runs.
   *
   * @throws Error that names the container and what became of it
   */
  async assertFrozen(record: SourceRecord, signal: AbortSignal): Promise<void> {
    const now = await Promise.all(record.frozen.map(({ id }) => this.#ports.runtime.processOf(id, signal)));
    for (const [index, { name, pid }] of record.frozen.entries()) {
      const found = now[index];
      if (!found || found.pid !== pid)
        throw new Error(`container ${name} ended while it was frozen; see the events of the pod (a probe, memory, somebody's kill)`);
      if (!found.paused) throw new Error(`container ${name} was resumed by somebody else while it was frozen`);
    }
  }

  /** What was archived is there still. @throws Error when it is not */
  async assertArchived({ archives }: SourceRecord): Promise<void> {
    const look = async ([name, { path, bytes }]: [string, { path: string; bytes: number }]) => {
      const size = await sizeOf(path);
      if (size !== bytes) throw new Error(`the archive of container ${name}, ${path}, has ${size} bytes, and had ${bytes}`);
    };
    await Promise.all(Object.entries(archives).map(look));
  }

  /** Resolves when a power cut takes nothing of the archives away. */
  async flush(record: SourceRecord): Promise<void> {
    await Promise.all(Object.values(record.archives).map(({ path }) => syncAll(path)));
  }

  async removeArchives(uid: string, record: SourceRecord): Promise<void> {
    await Promise.all([this.#ports.removeVolumes(uid), this.#ports.removeCheckpoints(uid)]);
    await Promise.all(Object.values(record.archives).map(({ path }) => rm(path, { recursive: true, force: true })));
  }

  async #freeze(uid: string, record: SourceRecord, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    const { runtime } = this.#ports;
    await using held = new AsyncDisposableStack();
    // Once frozen it is not looked at again: some of it is on the disk by then.
    if (record.frozen.length === 0) {
      // It would be due just while the archive is packed.
      this.#ports.collectGarbage?.();
      const running = await this.#running(record, signal);
      const memory = await memoryOfPod(runtime, running, signal);
      if (memory !== undefined) {
        record.memory = memory;
        await step('room', async () => assertRoom(this.#ports, record.request, memory));
      }
      record.frozen = running.map(({ id, name, pid }) => ({ id, name, pid }));
      await hooks.save();
      if (memory !== undefined) {
        const allowed = Math.min(mostAtHand, (record.request.freezeMilliseconds ?? Number.POSITIVE_INFINITY) * shareAtHand);
        const take = async (bytes: number) => {
          const atHand = await this.#ports.memoryAtHand?.(bytes, allowed, signal);
          if (!held.disposed) return atHand && held.use(atHand);
          // A round failed meanwhile, and the pod has been stopped.
          await atHand?.[Symbol.asyncDispose]();
          return undefined;
        };
        const atHand = await take(memory);
        const takeMore = () => take(Math.min(memory, firstAtHand));
        await this.#warm.run({ uid, record, hooks, signal }, running, memory, { atHand, takeMore });
      }
    }
    const wanted = await this.#running(record, signal);
    // Remembered before the first pause: whoever takes over after a crash has to know what may be paused.
    record.frozen = wanted.map(({ id, name, pid }) => ({ id, name, pid }));
    await Promise.all([
      hooks.save(),
      this.#ports.connect?.(record.request, signal),
      ...wanted.map((container) => this.#ports.prepareCheckpoint?.(uid, container, signal)),
    ]);
    // All to their end: a pause that was still under way when another failed would outlive the resume.
    const paused = await Promise.allSettled(wanted.map((container) => runtime.pause(container.id, signal)));
    for (const outcome of paused) if (outcome.status === 'rejected') throw outcome.reason;
    signal.throwIfAborted();
    record.frozenAt ??= new Date(this.#ports.now()).toISOString();
    hooks.frozen();
  }

  /** The containers that the request names. @throws Error when one does not run */
  async #running({ request }: SourceRecord, signal: AbortSignal): Promise<RunningContainer[]> {
    const { namespace, pod, podUid, containers: names } = request;
    const containers = await this.#ports.runtime.containersOf(podUid, signal);
    return names.map(({ name }) => {
      const found = containers.find((container) => container.name === name);
      if (!found) throw new Error(`container ${name} of pod ${namespace}/${pod} does not run in the runtime of this node`);
      return found;
    });
  }

  /** What can be shipped while it is checkpointed is: nothing of the pod changes meanwhile. */
  async #checkpointAndShip(
    uid: string,
    record: SourceRecord,
    checkpointed: () => Promise<void>,
    hooks: WorkHooks,
    signal: AbortSignal,
  ): Promise<void> {
    const names = record.request.containers.map(({ name }) => name);
    const begun = new Map(names.map((name) => [name, Promise.withResolvers<ArchiveToShip>()]));
    const checkpoints = async (stop: AbortSignal) => {
      const one = async (name: string, { resolve }: PromiseWithResolvers<ArchiveToShip>) =>
        resolve(await this.#checkpoint(uid, record, name, resolve, hooks, stop));
      try {
        await eachToItsEnd([...begun], dumpsAtOnce(record.memory), ([name, promised]) => one(name, promised));
        await checkpointed();
      } catch (error) {
        for (const { promise, reject } of begun.values()) {
          promise.catch(() => undefined);
          reject(error);
        }
        throw error;
      }
    };
    await together(signal, (stop) => [
      // What was archived is what runs; who holds the pod looks once more.
      step('checkpoint', () => checkpoints(stop)).then(() => step('ship', () => this.assertFrozen(record, stop))),
      ...[...begun].map(([name, { promise }]) => step('ship', async () => this.#ship(record, name, await promise, hooks, stop))),
      step('ship', () => this.#shipVolumes(uid, record, hooks, stop)),
    ]);
  }

  /** Not cut off by a stop: the runtime would go on all the same, and its archive would be left without an owner. */
  async #checkpoint(
    uid: string,
    record: SourceRecord,
    name: string,
    begun: (archive: ArchiveToShip) => void,
    hooks: WorkHooks,
    signal: AbortSignal,
  ): Promise<ArchiveToShip> {
    const known = Object.hasOwn(record.archives, name) ? record.archives[name] : undefined;
    if (known) return { path: known.path, whole: Promise.resolve() };
    signal.throwIfAborted();
    const id = record.frozen.find((container) => container.name === name)?.id ?? '';
    const { archive, whole } = this.#ports.checkpoint(uid, record.request, { id, name });
    whole.catch(() => undefined);
    let path: string | undefined;
    const explain = async (error: unknown): Promise<never> => {
      throw new StepError('checkpoint', await this.#explained(error, id, name, path));
    };
    path = await archive.catch(explain);
    // Who ships it meanwhile fails with the same: which of them is heard first does not matter.
    const ended = whole.catch(explain);
    ended.catch(() => undefined);
    begun({ path, whole: ended });
    await ended;
    record.archives[name] = { path, bytes: await sizeOf(path) };
    if (Object.keys(record.archives).length < record.request.containers.length) await this.#noteArchive(hooks);
    return { path, whole: ended };
  }

  /** The kubelet's archives lie where nobody else would find them; those in a directory of our own are made once more after a crash before that. */
  async #noteArchive(hooks: WorkHooks): Promise<void> {
    if (this.#ports.way === 'kubelet') await hooks.save();
    else hooks.saveLater();
  }

  /** Lets the pod go on for a moment. What was archived of it is worth nothing from then on, so that is written down first. */
  async #thaw(uid: string, record: SourceRecord, reach: (state: SourceState) => Promise<void>, signal: AbortSignal): Promise<void> {
    await this.removeArchives(uid, record);
    record.archives = {};
    record.shipped = {};
    record.warm = {};
    delete record.checkpointedAt;
    await reach('Freezing');
    await Promise.all(record.frozen.map(({ id }) => this.#ports.runtime.resume(id, signal)));
    await sleep(pauseBetween, undefined, { signal });
  }

  /** With what CRIU says itself. */
  async #explained(error: unknown, id: string, name: string, directory: string | undefined): Promise<Error> {
    const own = directory && (await readFile(join(directory, 'dump.log'), 'utf8').catch(() => undefined));
    const said = failureIn(own ?? (await this.#ports.runtime.criuLog(id)) ?? '');
    return new Error([`container ${name}: ${messageOf(error)}`, ...(said ? [`CRIU: ${said}`] : [])].join('; '), { cause: error });
  }

  async #ship(record: SourceRecord, name: string, archive: ArchiveToShip, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    if (Object.hasOwn(record.shipped, name)) return;
    signal.throwIfAborted();
    const layers = record.warm?.[name] ?? [];
    const begun = performance.now();
    const shipped = await this.#ports.ship(record.request, name, { ...archive, layers }, flowOf(hooks, name), signal);
    this.#rates.seen('send', shipped.bytes, performance.now() - begun, hooks.pace.rate);
    record.shipped[name] = shipped;
    noteButLast(record, hooks);
  }

  async #shipKeptVolumes(uid: string, { request, shipped }: SourceRecord, signal: AbortSignal): Promise<void> {
    await this.#ports.shipVolumes(uid, request, shipped[volumesKey], unlimited(), signal);
  }

  async #shipVolumes(uid: string, record: SourceRecord, hooks: WorkHooks, signal: AbortSignal): Promise<void> {
    if (record.request.volumes.length === 0 || record.shipped[volumesKey]) return;
    record.shipped[volumesKey] = await this.#ports.shipVolumes(uid, record.request, undefined, flowOf(hooks, volumesKey), signal);
    noteButLast(record, hooks);
  }
}

/** How many parts are shipped: the containers, and the volumes together. */
const partsOf = ({ containers, volumes }: SourceRecord['request']) => containers.length + (volumes.length > 0 ? 1 : 0);

/** That one more part is shipped; with the last one the next state is saved. After a crash before that it is shipped once more. */
function noteButLast({ shipped, request }: SourceRecord, hooks: WorkHooks): void {
  if (Object.keys(shipped).length < partsOf(request)) hooks.saveLater();
}

function flowOf({ progress, pace }: WorkHooks, part: string): Flow {
  return { progress: (bytes) => progress(part, bytes), pace };
}

/** To this very node: the network has no part in it. */
function unlimited(): Flow {
  return { progress: () => undefined, pace: new TokenBucket() };
}

/** A file, or all of a directory. */
async function syncAll(path: string): Promise<void> {
  if (!(await stat(path)).isDirectory()) return sync(path);
  const names = await readdir(path, { recursive: true });
  await eachToItsEnd(['', ...names], flushesAtOnce, (name) => sync(join(path, name)));
}

/** Of a file, or of all files of a directory. Bytes. */
async function sizeOf(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const sizes = await Promise.all((await readdir(path)).map((name) => sizeOf(join(path, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Does something to each, so many at a time; after a failure none is begun any more, and those that were are waited for. */
async function eachToItsEnd<Item>(items: Item[], atOnce: number, work: (item: Item) => Promise<void>): Promise<void> {
  const left = [...items];
  let failure: { error: unknown } | undefined;
  const worker = async () => {
    for (let item = left.shift(); item !== undefined && !failure; item = left.shift()) {
      await work(item).catch((error: unknown) => {
        failure ??= { error };
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failure) throw failure.error;
}
