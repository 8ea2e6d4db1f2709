import type { Pod } from '../../src/api/pod.ts';
import { ask, type Counted } from '../cluster/support/counter.ts';
import { host } from '../cluster/support/lab.ts';
import type { Space } from '../cluster/support/space.ts';
import { until } from '../cluster/support/until.ts';
import type { Cell } from './cells.ts';
import type { Answer, Client } from './client.ts';
import { Meter } from './meter.ts';
import { createSource, destination, portsOf, remove, source } from './pods.ts';
import type { Part, Trial, Way } from './results.ts';
import { asParts, RuntimeLog } from './runtime-log.ts';

/** A moment up to which the time since the one before was spent on something. Milliseconds since 1970. */
export interface Mark {
  name: string;
  at: number;
}

/** A move that is under way. */
export interface Moved {
  /** Answers of the source from then on do not count. */
  cutoff?: number;
  /** Known at once. */
  marks?: Mark[];
  /** Known when it has ended. */
  marksAtEnd?(): Promise<Mark[]>;
  /** Parts between the last mark and the creation of the target of which only the lengths are known. */
  spent?: Part[];
  /** Address of a pod on the destination that never answers; undefined: there is none. */
  silent?: Promise<string | undefined>;
  /** When the target was created. */
  created(): Promise<number>;
  target(): Promise<Pod>;
  /** Rejects when the move has failed. */
  failed?: Promise<never>;
  /** Resolves when all is done, rejects when it failed. */
  end(): Promise<void>;
  /** Everything that the move left, the target too. */
  cleanUp(): Promise<void>;
}

/** A way to move a pod from `source` to `destination`. */
export interface Mover {
  prepare?(): Promise<void>;
  move(pod: Pod, cell: Cell): Promise<Moved>;
  /** What a move that failed left. */
  cleanUp?(): Promise<void>;
  close(): void;
}

/** What a pod may take to answer again, milliseconds: four minutes, and a quarter of a second a MiB. */
const limitOf = (cell: Cell) => 240_000 + cell.mebibytes * 250;

/** One pod of that kind is made, moved, looked at and removed. @throws Error when its memory is not what it was */
export async function runTrial(options: {
  space: Space;
  client: Client;
  mover: Mover;
  way: Way;
  cell: Cell;
  repetition: number;
}): Promise<Trial> {
  const { space, client, mover, way, cell, repetition } = options;
  const name = `${way}-${cell.mebibytes}-${cell.load}-${cell.containers}-${repetition}`;
  const ports = portsOf(cell);
  let moved: Moved | undefined;
  try {
    const pod = await createSource(space, name, cell);
    const before = await Promise.all(ports.map((port) => until(`pod ${name} tells its checksum`, () => ask(pod, port))));
    // What an earlier trial has left to be written must not be in the way of this one.
    await host('sync');
    const log = await RuntimeLog.from(destination);
    using meter = await Meter.start(source, destination);
    await client.watch(ports, pod.status?.podIP ?? '');
    const began = Date.now();
    moved = await mover.move(pod, cell);
    void moved.silent?.then((address) => address && client.leave(address));
    const first = await Promise.race([client.firstOfTarget(limitOf(cell)), ...(moved.failed ? [moved.failed] : [])]);
    await moved.end();
    const total = Date.now() - began;
    const usage = await meter.stop();
    client.stop();
    const last = client.lastOfSource(moved.cutoff);
    const target = await moved.target();
    await expectSameMemory(before, last, first, target, ports);
    const from = Math.min(...last.map(({ at }) => at));
    const to = Math.max(...first.map(({ at }) => at));
    const created = await moved.created();
    const marks = [...(moved.marks ?? []), ...((await moved.marksAtEnd?.()) ?? [])];
    return {
      ...cell,
      ...usage,
      way,
      repetition,
      at: new Date(began).toISOString(),
      downtime: to - from,
      silence: client.longestSilence(moved.cutoff),
      total,
      parts: partsBetween(from, to, marks, moved.spent ?? [], created),
      startParts: asParts(await log.partsOf(target.metadata.uid ?? ''), to - created),
    };
  } finally {
    client.stop();
    await (moved ? moved.cleanUp() : mover.cleanUp?.());
    await remove(space, name);
  }
}

/** From the last answer to the first: up to each mark, then what was spent, the last part being the start of the target. */
export function partsBetween(from: number, to: number, marks: Mark[], spent: Part[], created: number): Part[] {
  const parts: Part[] = [];
  let reached = from;
  for (const { name, at } of marks) {
    const end = Math.min(to, Math.max(reached, at));
    parts.push({ name, milliseconds: end - reached });
    reached = end;
  }
  for (const part of spent) {
    parts.push(part);
    reached += part.milliseconds;
  }
  if (created > reached && spent.length) parts.push({ name: 'other', milliseconds: created - reached });
  const start = spent.length ? created : reached;
  parts.push({ name: 'start', milliseconds: Math.max(0, to - start) });
  return parts;
}

/** The same processes, which have not gone back behind what they had answered, with the same memory. */
async function expectSameMemory(before: Counted[], last: Answer[], first: Answer[], target: Pod, ports: number[]): Promise<void> {
  for (const [index, port] of ports.entries()) {
    const then = before[index];
    const now = first[index];
    if (now?.birth !== then?.birth) throw new Error(`on port ${port} another process answers than the one that was moved`);
    const count = last[index]?.count ?? 0;
    if ((now?.count ?? 0) < count) throw new Error(`on port ${port} the count went back from ${count} to ${now?.count}`);
    // A status without the address yet is the API's delay.
    const address = first[index]?.address ?? '';
    const after = await until('the moved pod tells its checksum', () => ask({ ...target, status: { podIP: address } }, port));
    if (after.checksum !== then?.checksum) throw new Error(`on port ${port} the memory is not what it was`);
  }
}
