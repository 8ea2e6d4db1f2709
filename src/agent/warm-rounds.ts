import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { imagesDirectory } from '../archive/directory.ts';
import { isRoundWorthIt } from '../plan/warm.ts';
import { messageOf } from '../util/errors.ts';
import { isSmall, type Rates } from './rates.ts';
import type { RunningContainer } from './runtime.ts';
import { goesBeside, type SourcePorts, type SourceRecord, type WarmLayer, type WorkHooks } from './source-record.ts';

/** How many rounds there may be when nothing is said. */
const usualMost = 3;

/** Of one migration. */
interface WarmWork {
  uid: string;
  record: SourceRecord;
  hooks: WorkHooks;
  signal: AbortSignal;
}

/** What is held for a dump: let go of when that begins. */
interface MemoryForDumps {
  /** For the first one, whether the pod runs on meanwhile or not. */
  atHand: AsyncDisposable | undefined;
  /** Takes some for the next one. Whoever gives it lets go of it when the pod has been stopped. */
  takeMore(): Promise<AsyncDisposable | undefined>;
}

/**
 * Sends memory ahead while the pod runs: CRIU dumps it without stopping it for longer than that takes, and after the freeze
 * only what changed travels. Nothing depends on it: what fails here is said, and the freeze comes with what there is.
 */
export class WarmRounds {
  readonly #ports: SourcePorts;
  readonly #rates: Rates;

  constructor(ports: SourcePorts, rates: Rates) {
    this.#ports = ports;
    this.#rates = rates;
  }

  /**
   * @param memory of the containers, bytes
   * @throws the signal's reason
   */
  async run(work: WarmWork, containers: RunningContainer[], memory: number, { atHand, takeMore }: MemoryForDumps): Promise<void> {
    const { record, hooks, signal } = work;
    const { request } = record;
    const { ahead } = this.#ports;
    // The destination fetches from a registry only when all lies there, and so after the freeze.
    if (!ahead || request.transfer !== 'Direct' || !goesBeside(request)) return;
    // Twice on this disk while the second is made, and once more on the destination's than without.
    const free = Math.min(this.#ports.freeBytes() ?? Number.POSITIVE_INFINITY, request.destination.freeBytes ?? Number.POSITIVE_INFINITY);
    if (memory * 3 > free) return;
    const most = request.warmRounds ?? usualMost;
    const begun = performance.now();
    let changed: { bytes: number; seconds: number } | undefined;
    let last = begun;
    let held = atHand;
    try {
      for (let rounds = 0; ; rounds++) {
        const rates = { sendRate: this.#rates.send(memory, hooks.pace.rate), dumpRate: this.#rates.dump(memory) };
        const now = performance.now();
        const seconds = ((request.freezeMilliseconds ?? Number.POSITIVE_INFINITY) - (now - begun)) / 1000;
        const since = (now - last) / 1000;
        if (!isRoundWorthIt({ rounds, most, memory, changed, since, seconds, ...rates })) return;
        await held?.[Symbol.asyncDispose]();
        const dumps = containers.map((container) => ({ container, dumped: Promise.withResolvers<void>() }));
        // While memory is sent: afterwards, what changes meanwhile would have to be sent too.
        const taking = Promise.all(dumps.map(({ dumped }) => dumped.promise)).then(takeMore);
        taking.catch(() => undefined);
        const alongside = !isSmall(memory);
        const sent = await Promise.all(
          dumps.map(({ container, dumped }) => this.#round(ahead, work, container, { alongside, dumpEnded: dumped.resolve })),
        );
        held = await taking;
        if (rounds > 0) changed = { bytes: sent.reduce((sum, bytes) => sum + bytes, 0), seconds: since };
        last = now;
      }
    } catch (error) {
      signal.throwIfAborted();
      hooks.note(`memory could not be sent ahead: ${messageOf(error)}`);
    }
  }

  /**
   * @param options.alongside whether memory is sent while CRIU writes. The pod stands still meanwhile: with little memory for half as
   *   long again when sending takes something of the cores
   * @param options.dumpEnded is told when CRIU needs no more memory
   * @returns what was sent, bytes
   */
  async #round(
    ahead: NonNullable<SourcePorts['ahead']>,
    work: WarmWork,
    { id, name }: RunningContainer,
    { alongside, dumpEnded }: { alongside: boolean; dumpEnded: () => void },
  ): Promise<number> {
    const { uid, record, hooks, signal } = work;
    const layers = record.warm?.[name] ?? [];
    // What is there is written over: of a round that does not come to its end nothing is of use.
    if (layers.length > 0) await this.#remember(work, name, []);
    const begun = performance.now();
    const { path, whole } = await ahead.checkpoint(uid, { id, name });
    const dumped = whole.then(() => performance.now() - begun);
    dumped.then(dumpEnded, () => undefined);
    const flow = { progress: (bytes: number) => hooks.ahead(`${name}, round ${layers.length + 1}`, bytes), pace: hooks.pace };
    try {
      if (!alongside) await whole;
      const layer = await ahead.ship(record.request, name, { path, whole, layers }, flow, signal);
      this.#rates.seen('send', layer.bytes, performance.now() - begun, hooks.pace.rate);
      this.#rates.seen('dump', layer.memory, await dumped);
      // The next is compared with the last; of the first, the page maps are needed.
      await Promise.all(layers.map((earlier) => rm(join(earlier.path, imagesDirectory), { recursive: true, force: true })));
      await this.#remember(work, name, [...layers, layer]);
      return layer.bytes;
    } finally {
      // Also when sending failed: the runtime goes on with it whatever becomes of that.
      await whole.catch(() => undefined);
    }
  }

  async #remember({ record, hooks }: WarmWork, name: string, layers: WarmLayer[]): Promise<void> {
    record.warm = { ...record.warm, [name]: layers };
    await hooks.save();
  }
}
