import { fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Growth } from './growth.ts';
import { LetGo, leastToLetGo } from './page-cache.ts';
import type { PageComparer } from './page-comparer.ts';
import { flag, isPresent, loadPagemap, type Pagemap, PagemapEncoder, type PageRun, pageSize } from './pagemap.ts';
import { Ranges } from './ranges.ts';

/**
 * What of a process's memory is another than in the last checkpoint of it, where an earlier one lies on the destination as a
 * file that is patched.
 */
export interface Delta {
  /** `pages-ID.img` of the later checkpoint, and of the file on the destination. */
  pages: string;
  patched: string;
  /**
   * The page map, once all is compared: what that file has a place for is the parent's, as CRIU has it in incremental checkpoints
   * (criu.org, "Incremental dumps"), and the rest is here.
   */
  pagemap: Promise<Buffer>;
  /** Instead of a patch, where little changed; undefined as soon as it is known to be more. */
  few: Promise<Few | undefined>;
}

/** What changed put among what is new, so that the file on the destination stays as it is. */
export interface Few {
  /** In which only what is as it was is the parent's. */
  pagemap: Buffer;
  /** What is here of the later checkpoint's file. */
  pages: Ranges;
}

/**
 * As little as this is sent in the archive sooner than the destination has opened and flushed the file that it would patch (60 ms). CRIU
 * takes some 12 microseconds for each stretch. Bytes, stretches.
 */
const fewBytes = 4 * 1024 * 1024;
const fewStretches = 2048;

/** Asked of the thread at a time: it is not worth less, and what changed of it is to be on its way soon. Bytes, whole pages; parts. */
const batchBytes = 8 * 1024 * 1024;
const batchParts = 1024;

/** Asked at a time while CRIU writes. Bytes, whole batches. */
const mostAhead = 64 * 1024 * 1024;

/** Directories, of the same container. */
export interface Checkpoints {
  /** CRIU's images, of the later checkpoint. */
  directory: string;
  /** Those of the last one. */
  parent: string;
  /** Page maps of the checkpoint that the destination's files are laid out as. */
  layout: string;
  /** Page maps that the last one left, if that is another: what is its parent's there is as it was in it. */
  last?: string;
}

/** What was compared of a file, by batches. */
interface Guess {
  differs: Uint8Array;
  /** How much further on the batch was taken to be in the earlier file. Bytes. */
  shift: number;
}

/**
 * Compares files of memory of the same name while CRIU still writes the later one and nobody knows yet which address is where in
 * it: most of it is where it was, or as far from it as what is before it, and `deltaOf` has less to do then.
 */
export class ComparedAhead {
  readonly #checkpoints: Pick<Checkpoints, 'directory' | 'parent'>;
  readonly #comparer: PageComparer;
  readonly #found = new Map<string, Guess[]>();
  readonly #running = new Set<Promise<void>>();
  #ended = false;

  constructor(checkpoints: Pick<Checkpoints, 'directory' | 'parent'>, comparer: PageComparer) {
    this.#checkpoints = checkpoints;
    this.#comparer = comparer;
  }

  /**
   * Compares a file from its beginning as far as both go.
   *
   * @param name `pages-ID.img`
   * @param whole resolves when the later one is complete
   */
  async file(name: string, whole: Promise<void>, signal: AbortSignal): Promise<void> {
    if (this.#ended) return;
    const running = this.#compare(name, whole, signal);
    this.#running.add(running);
    await running.finally(() => this.#running.delete(running));
  }

  /** Resolves when no file is being compared; none will be from then on. @throws what one of them failed with */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#running);
  }

  async #compare(name: string, whole: Promise<void>, signal: AbortSignal): Promise<void> {
    const paths = [join(this.#checkpoints.directory, name), join(this.#checkpoints.parent, name)] as const;
    await using file = await open(paths[0], 'r');
    await using parent = await open(paths[1], 'r');
    const { size } = await parent.stat();
    const growth = new Growth(whole);
    const found: Guess[] = [];
    this.#found.set(name, found);
    // Nobody reads it after this, and CRIU needs memory for what it writes.
    await using parentDone = new LetGo(paths[1]);
    for (let [at, shift] = [0, 0]; ; ) {
      const inBatches = () => Math.floor(Math.min(fstatSync(file.fd).size, size) / batchBytes) * batchBytes;
      const bytes = Math.min(await growth.beyond(at, inBatches, signal), mostAhead);
      if (bytes === 0) return;
      const count = bytes / batchBytes;
      const { differs, shifts } = await this.#comparer.compare(paths, page, { place: at, count, stretch: batchBytes, shift });
      for (let index = 0; index < count; index++) {
        shift = shifts?.[index] ?? 0;
        found.push({ differs: differs.subarray((index * batchBytes) / page, ((index + 1) * batchBytes) / page), shift });
      }
      at += bytes;
      // Otherwise most of it is somewhere else, and compared again.
      if (size >= leastToLetGo && countOf(differs) < differs.length / 2) parentDone.upTo(at + shift);
    }
  }

  /** The answer for a part, if it is known. */
  of(name: string, { place, parentPlace, bytes }: BothHave): Uint8Array | undefined {
    const batch = Math.floor(place / batchBytes);
    const from = place - batch * batchBytes;
    const found = this.#found.get(name)?.[batch];
    return found && found.shift === parentPlace - place ? found.differs.subarray(from / page, (from + bytes) / page) : undefined;
  }
}

/**
 * Compares the memory of one process in two checkpoints, page by page and by content: nothing of the kernel's tracking of
 * memory is needed, and pages that were written with what they held count as unchanged.
 *
 * @param name `pagemap-ID.img` in all directories
 * @param options.ahead what was compared before the later one was complete
 * @param options.changed where it is noted what of a file of pages changed, and where on the destination it belongs; grows until the page map is there
 * @param options.added the same for what the destination has no place for
 * @param signal ends it
 * @throws ArchiveError `not-criu`
 */
export async function deltaOf(
  name: string,
  { directory, parent, layout, last }: Checkpoints,
  {
    comparer,
    ahead,
    changed,
    added,
  }: { comparer: PageComparer; ahead?: ComparedAhead } & Record<'changed' | 'added', (pages: string) => Ranges>,
  signal: AbortSignal,
): Promise<Delta> {
  const read = (maps: string) => loadPagemap(join(maps, name));
  const [now, before, laidOut, held] = [read(directory), read(parent), read(layout), last === undefined ? undefined : read(last)];
  const pages = `pages-${now.id}.img`;
  const parentPages = `pages-${before.id}.img`;
  const known = pages === parentPages ? ahead : undefined;
  const result = new DeltaBuilder(now.id, changed(pages), added(pages));
  const there = heldBy(before, laidOut, held);
  const compare = async () => {
    const paths = [join(directory, pages), join(parent, parentPages)] as const;
    let waiting: (() => Promise<void>) | undefined;
    for (const parts of batchesOf(partsOf(now, there))) {
      signal.throwIfAborted();
      const answers = parts.map((part) => ('parentPlace' in part ? known?.of(pages, part) : undefined));
      const unknown = parts.filter((part, index): part is BothHave => 'parentPlace' in part && !answers[index]);
      const asked = unknown.length > 0 ? comparer.compare(paths, page, { pairs: pairsOf(unknown) }) : undefined;
      asked?.catch(() => undefined);
      // The thread has the next batch while this one is put together.
      await waiting?.();
      waiting = async () => result.add(parts, answers, (await asked)?.differs);
    }
    await waiting?.();
    return result.end();
  };
  const pagemap = compare();
  // Who sends what changed hears of a failure too.
  pagemap.catch(result.told.reject);
  const few = result.told.promise;
  few.catch(() => undefined);
  return { pages, patched: `pages-${laidOut.id}.img`, pagemap, few };
}

const page = pageSize ?? 4096;

const countOf = (differs: Uint8Array): number => differs.reduce((sum, each) => sum + each, 0);

/** Memory that follows each other in a file. */
interface Stretch {
  vaddr: number;
  bytes: number;
  /** Where in the file. */
  place: number;
}

/** Memory of the last checkpoint that the destination has too. */
interface Held extends Stretch {
  /** Where in the destination's file. */
  at: number;
}

/** Memory of the later checkpoint that the destination has, as it was in the last one; nothing of it crosses a multiple of `batchBytes` in the later file. */
interface BothHave extends Stretch {
  /** Where in the file of the last checkpoint, and in the destination's. */
  parentPlace: number;
  at: number;
}

/** In the order of addresses; what has no pages in the file is a run as it is. */
type Part = PageRun | Stretch | BothHave;

function* partsOf(now: Pagemap, known: Generator<Held, undefined>): Generator<Part> {
  let candidate = known.next().value;
  let offset = 0;
  for (const run of now.runs) {
    if (!isPresent(run)) {
      yield run;
      continue;
    }
    const end = run.vaddr + run.pages * page;
    for (let vaddr = run.vaddr; vaddr < end; ) {
      while (candidate && candidate.vaddr + candidate.bytes <= vaddr) candidate = known.next().value;
      const place = offset + vaddr - run.vaddr;
      const left = end - vaddr;
      let bytes = left;
      if (!candidate || candidate.vaddr >= end) yield { vaddr, bytes, place };
      else if (candidate.vaddr > vaddr) {
        bytes = candidate.vaddr - vaddr;
        yield { vaddr, bytes, place };
      } else {
        const within = vaddr - candidate.vaddr;
        const [parentPlace, at] = [candidate.place + within, candidate.at + within];
        bytes = Math.min(left, candidate.vaddr + candidate.bytes - vaddr, batchBytes - (place % batchBytes));
        yield { vaddr, bytes, place, parentPlace, at };
      }
      vaddr += bytes;
    }
    offset += run.pages * page;
  }
}

/** What the destination has of the last checkpoint. */
function* heldBy(before: Pagemap, layout: Pagemap, last: Pagemap | undefined): Generator<Held, undefined> {
  const laidOut = stretchesOf(layout, flag.present);
  const places = last ? placed(overlaps(laidOut, stretchesOf(last, flag.parent))) : laidOut;
  for (const { vaddr, bytes, first, second } of overlaps(stretchesOf(before, flag.present), places))
    yield { vaddr, bytes, place: first.place + vaddr - first.vaddr, at: second.place + vaddr - second.vaddr };
}

/** Where each is in the first of both files. */
function* placed(found: ReturnType<typeof overlaps<Stretch, Stretch>>): Generator<Stretch, undefined> {
  for (const { vaddr, bytes, first } of found) yield { vaddr, bytes, place: first.place + vaddr - first.vaddr };
}

/** What of memory is in both, in the order of addresses. */
function* overlaps<A extends Stretch, B extends Stretch>(
  first: Iterator<A, undefined>,
  second: Iterator<B, undefined>,
): Generator<{ vaddr: number; bytes: number; first: A; second: B }, undefined> {
  let [a, b] = [first.next().value, second.next().value];
  while (a && b) {
    const vaddr = Math.max(a.vaddr, b.vaddr);
    const [endOfA, endOfB] = [a.vaddr + a.bytes, b.vaddr + b.bytes];
    const bytes = Math.min(endOfA, endOfB) - vaddr;
    if (bytes > 0) yield { vaddr, bytes, first: a, second: b };
    if (endOfA <= endOfB) a = first.next().value;
    else b = second.next().value;
  }
}

/** What has such a flag, as if that alone were in the file. */
function* stretchesOf({ runs }: Pagemap, which: number): Generator<Stretch, undefined> {
  let place = 0;
  for (const run of runs) {
    if ((run.flags & which) === 0) continue;
    const bytes = run.pages * page;
    yield { vaddr: run.vaddr, bytes, place };
    place += bytes;
  }
}

function* batchesOf(parts: Iterable<Part>): Generator<Part[]> {
  let batch: Part[] = [];
  let bytes = 0;
  for (const part of parts) {
    batch.push(part);
    if ('parentPlace' in part) bytes += part.bytes;
    if (bytes < batchBytes && batch.length < batchParts) continue;
    yield batch;
    [batch, bytes] = [[], 0];
  }
  yield batch;
}

function pairsOf(parts: BothHave[]): Float64Array {
  return Float64Array.from(parts.flatMap(({ place, parentPlace, bytes }) => [place, parentPlace, bytes]));
}

/** A page map, and what has to be sent for it. */
class DeltaBuilder {
  readonly #changes: Ranges;
  readonly #additions: Ranges;
  readonly #map: MapBuilder;
  /** As long as it is little. */
  #few: { map: MapBuilder; pages: Ranges } | undefined;
  /** What there is instead of a patch. */
  readonly told = Promise.withResolvers<Few | undefined>();

  constructor(id: number, changes: Ranges, additions: Ranges) {
    this.#changes = changes;
    this.#additions = additions;
    this.#map = new MapBuilder(id);
    this.#few = { map: new MapBuilder(id), pages: new Ranges() };
  }

  /**
   * @param answers where they were known before: a byte for every page, 1 where it changed
   * @param rest the same for the others, one after the other
   */
  add(parts: Part[], answers: (Uint8Array | undefined)[], rest: Uint8Array = new Uint8Array()): void {
    let at = 0;
    for (const [index, part] of parts.entries()) {
      if ('flags' in part) {
        this.#map.add(part);
        this.#few?.map.add(part);
      } else if (!('parentPlace' in part)) {
        this.#map.add({ vaddr: part.vaddr, pages: part.bytes / page, flags: flag.present });
        this.#additions.add(part.place, part.bytes);
        this.#addFew(part);
      } else {
        const pages = part.bytes / page;
        const differs = answers[index] ?? rest.subarray(at, at + pages);
        if (!answers[index]) at += pages;
        this.#compared(part, differs);
      }
    }
  }

  /** The page map. */
  end(): Buffer {
    this.told.resolve(this.#few && { pagemap: this.#few.map.end(), pages: this.#few.pages });
    return this.#map.end();
  }

  #compared({ vaddr, bytes, place, at }: BothHave, differs: Uint8Array): void {
    this.#map.add({ vaddr, pages: bytes / page, flags: flag.parent });
    const same = (from: number, to: number) => {
      if (to > from) this.#few?.map.add({ vaddr: vaddr + from * page, pages: to - from, flags: flag.parent });
    };
    let reached = 0;
    for (let from = differs.indexOf(1); from >= 0; ) {
      const found = differs.indexOf(0, from);
      const to = found < 0 ? differs.length : found;
      this.#changes.add(place + from * page, (to - from) * page, at + from * page);
      same(reached, from);
      this.#addFew({ vaddr: vaddr + from * page, place: place + from * page, bytes: (to - from) * page });
      reached = to;
      from = differs.indexOf(1, to);
    }
    same(reached, differs.length);
  }

  #addFew({ vaddr, place, bytes }: Stretch): void {
    if (!this.#few) return;
    const { map, pages } = this.#few;
    map.add({ vaddr, pages: bytes / page, flags: flag.present });
    pages.add(place, bytes);
    if (pages.bytes <= fewBytes && pages.count <= fewStretches) return;
    this.#few = undefined;
    this.told.resolve(undefined);
  }
}

/** Puts together what follows each other. */
class MapBuilder {
  readonly #encoder: PagemapEncoder;
  #last: PageRun | undefined;

  constructor(id: number) {
    this.#encoder = new PagemapEncoder(id);
  }

  add(run: PageRun): void {
    const last = this.#last;
    if (last && last.flags === run.flags && last.vaddr + last.pages * page === run.vaddr) last.pages += run.pages;
    else {
      if (last) this.#encoder.add(last);
      this.#last = { ...run };
    }
  }

  end(): Buffer {
    if (this.#last) this.#encoder.add(this.#last);
    this.#last = undefined;
    return this.#encoder.end();
  }
}
