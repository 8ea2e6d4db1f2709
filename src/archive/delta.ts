import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Growth } from './growth.ts';
import { LetGo, leastToLetGo } from './page-cache.ts';
import type { PageComparer } from './page-comparer.ts';
import { flag, isPresent, type Pagemap, PagemapEncoder, type PageRun, pageSize, readPagemap } from './pagemap.ts';
import type { Ranges } from './ranges.ts';

/** What of a process's memory changed between two checkpoints of it, as CRIU has it in incremental ones (criu.org, "Incremental dumps"). */
export interface Delta {
  /** `pages-ID.img` of the later checkpoint. */
  pages: string;
  /** The page map in which everything that did not change is the parent's, once all is compared. */
  pagemap: Promise<Buffer>;
}

/** Asked of the thread at a time: it is not worth less, and what changed of it is to be on its way soon. Bytes, whole pages; parts. */
const batchBytes = 8 * 1024 * 1024;
const batchParts = 1024;

/** Asked at a time while CRIU writes. Bytes, whole batches. */
const mostAhead = 64 * 1024 * 1024;

/** Two directories of CRIU's images, of the same container. */
export interface Checkpoints {
  /** The later one. */
  directory: string;
  parent: string;
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
  readonly #checkpoints: Checkpoints;
  readonly #comparer: PageComparer;
  readonly #found = new Map<string, Guess[]>();
  readonly #running = new Set<Promise<void>>();
  #ended = false;

  constructor(checkpoints: Checkpoints, comparer: PageComparer) {
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
      const inBatches = async () => Math.floor(Math.min((await file.stat()).size, size) / batchBytes) * batchBytes;
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
 * @param name `pagemap-ID.img` in both directories of images
 * @param options.ahead what was compared before the later one was complete
 * @param options.changed where it is noted what of a file of pages is not the parent's; grows until the page map is there
 * @param signal ends it
 * @throws ArchiveError `not-criu`
 */
export async function deltaOf(
  name: string,
  { directory, parent }: Checkpoints,
  { comparer, ahead, changed }: { comparer: PageComparer; ahead?: ComparedAhead; changed(pages: string): Ranges },
  signal: AbortSignal,
): Promise<Delta> {
  const [now, before] = (await Promise.all(
    [directory, parent].map(async (images) => readPagemap(await readFile(join(images, name)), name)),
  )) as [Pagemap, Pagemap];
  const pages = `pages-${now.id}.img`;
  const parentPages = `pages-${before.id}.img`;
  const known = pages === parentPages ? ahead : undefined;
  const result = new DeltaBuilder(now.id, changed(pages));
  const compare = async () => {
    const paths = [join(directory, pages), join(parent, parentPages)] as const;
    let waiting: (() => Promise<void>) | undefined;
    for (const parts of batchesOf(partsOf(now, before))) {
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
    return result.pagemap();
  };
  const pagemap = compare();
  // Who sends what changed hears of a failure too.
  pagemap.catch(() => undefined);
  return { pages, pagemap };
}

const page = pageSize ?? 4096;

const countOf = (differs: Uint8Array): number => differs.reduce((sum, each) => sum + each, 0);

/** Memory that only the later checkpoint has in its file. */
interface New {
  vaddr: number;
  bytes: number;
  /** Where in its file. */
  place: number;
}

/** Memory that both have; nothing of it crosses a multiple of `batchBytes` in the later file. */
interface BothHave extends New {
  /** Where in the earlier file. */
  parentPlace: number;
}

/** In the order of addresses; what has no pages in the file is a run as it is. */
type Part = PageRun | New | BothHave;

function* partsOf(now: Pagemap, before: Pagemap): Generator<Part> {
  const known = stretchesOf(before);
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
        const parentPlace = candidate.place + vaddr - candidate.vaddr;
        bytes = Math.min(left, candidate.vaddr + candidate.bytes - vaddr, batchBytes - (place % batchBytes));
        yield { vaddr, bytes, place, parentPlace };
      }
      vaddr += bytes;
    }
    offset += run.pages * page;
  }
}

/** What is in the file of a full checkpoint. */
function* stretchesOf({ runs }: Pagemap): Generator<New, undefined> {
  let place = 0;
  for (const run of runs) {
    if (!isPresent(run)) continue;
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

/** Puts together what follows each other. */
class DeltaBuilder {
  readonly #changes: Ranges;
  readonly #encoder: PagemapEncoder;
  #last: PageRun | undefined;

  constructor(id: number, changes: Ranges) {
    this.#changes = changes;
    this.#encoder = new PagemapEncoder(id);
  }

  /**
   * @param answers where they were known before: a byte for every page, 1 where it changed
   * @param rest the same for the others, one after the other
   */
  add(parts: Part[], answers: (Uint8Array | undefined)[], rest: Uint8Array = new Uint8Array()): void {
    let at = 0;
    for (const [index, part] of parts.entries()) {
      if ('flags' in part) this.#run(part);
      else if (!('parentPlace' in part)) this.#changed(part.vaddr, part.bytes, part.place);
      else {
        const pages = part.bytes / page;
        const differs = answers[index] ?? rest.subarray(at, at + pages);
        if (!answers[index]) at += pages;
        this.#compared(part, differs);
      }
    }
  }

  pagemap(): Buffer {
    if (this.#last) this.#encoder.add(this.#last);
    this.#last = undefined;
    return this.#encoder.end();
  }

  #compared({ vaddr, place }: BothHave, differs: Uint8Array): void {
    for (let from = 0; from < differs.length; ) {
      const changed = differs[from];
      const found = differs.indexOf(changed ? 0 : 1, from);
      const to = found < 0 ? differs.length : found;
      const bytes = (to - from) * page;
      if (changed) this.#changed(vaddr + from * page, bytes, place + from * page);
      else this.#run({ vaddr: vaddr + from * page, pages: to - from, flags: flag.parent });
      from = to;
    }
  }

  #changed(vaddr: number, bytes: number, place: number): void {
    this.#run({ vaddr, pages: bytes / page, flags: flag.present });
    this.#changes.add(place, bytes);
  }

  #run(run: PageRun): void {
    const last = this.#last;
    if (last && last.flags === run.flags && last.vaddr + last.pages * page === run.vaddr) last.pages += run.pages;
    else {
      if (last) this.#encoder.add(last);
      this.#last = { ...run };
    }
  }
}
