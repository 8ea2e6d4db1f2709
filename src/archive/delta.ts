import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodePagemap, flag, isPresent, type Pagemap, type PageRun, pageSize, readPagemap } from './pagemap.ts';
import { Ranges } from './ranges.ts';

/** What of a process's memory changed between two checkpoints of it, as CRIU has it in incremental ones (criu.org, "Incremental dumps"). */
export interface Delta {
  /** `pages-ID.img` of the later checkpoint. */
  pages: string;
  /** What of that file is not the parent's; grows. Bytes. */
  changed: Ranges;
  /** The page map in which everything that did not change is the parent's, once all is compared. */
  pagemap: Promise<Buffer>;
}

/** Compared at a time. Bytes, whole pages. */
const chunkBytes = 1024 * 1024;

/** A stretch of memory, and where its content is in the file of pages. */
interface Stretch {
  vaddr: number;
  bytes: number;
  offset: number;
}

/**
 * Compares the memory of one process in two checkpoints, page by page and by content: nothing of the kernel's tracking of
 * memory is needed, and pages that were written with what they held count as unchanged.
 *
 * @param name `pagemap-ID.img` in both directories of images
 * @param signal ends it
 * @throws ArchiveError `not-criu`
 */
export async function deltaOf(name: string, directory: string, parent: string, signal: AbortSignal): Promise<Delta> {
  const now = readPagemap(await readFile(join(directory, name)), name);
  const before = readPagemap(await readFile(join(parent, name)), name);
  const pages = `pages-${now.id}.img`;
  const result = new DeltaBuilder();
  const compared = compareAll(now, before, join(directory, pages), join(parent, `pages-${before.id}.img`), result, signal);
  const pagemap = compared.then(() => encodePagemap({ id: now.id, runs: result.runs }));
  // Who sends what changed hears of a failure too.
  pagemap.catch(() => undefined);
  return { pages, changed: result.ranges, pagemap };
}

async function compareAll(
  now: Pagemap,
  before: Pagemap,
  path: string,
  parentPath: string,
  result: DeltaBuilder,
  signal: AbortSignal,
): Promise<void> {
  await using file = await open(path, 'r');
  await using parentFile = await open(parentPath, 'r');
  await using comparer = new Comparer(file, parentFile);
  const known = stretchesOf(before).values();
  let candidate = known.next().value;
  let offset = 0;
  for (const run of now.runs) {
    const bytes = run.pages * page;
    if (!isPresent(run)) {
      result.keep(run);
      continue;
    }
    const end = run.vaddr + bytes;
    for (let at = run.vaddr; at < end; ) {
      signal.throwIfAborted();
      while (candidate && candidate.vaddr + candidate.bytes <= at) candidate = known.next().value;
      const place = offset + at - run.vaddr;
      if (!candidate || candidate.vaddr >= end) {
        result.changed(at, end - at, place);
        break;
      }
      if (candidate.vaddr > at) {
        result.changed(at, candidate.vaddr - at, place);
        at = candidate.vaddr;
        continue;
      }
      const length = Math.min(end, candidate.vaddr + candidate.bytes, at + chunkBytes) - at;
      for (const { same, start, length: part } of await comparer.compare(place, candidate.offset + at - candidate.vaddr, length)) {
        if (same) result.unchanged(at + start, part);
        else result.changed(at + start, part, place + start);
      }
      at += length;
    }
    offset += bytes;
  }
}

const page = pageSize ?? 4096;

/** What is in the file of a full checkpoint. */
function stretchesOf({ runs }: Pagemap): Stretch[] {
  let offset = 0;
  return runs.filter(isPresent).map(({ vaddr, pages }) => {
    const stretch = { vaddr, bytes: pages * page, offset };
    offset += stretch.bytes;
    return stretch;
  });
}

/** Puts together what follows each other. */
class DeltaBuilder {
  readonly runs: PageRun[] = [];
  readonly ranges = new Ranges();

  keep(run: PageRun): void {
    this.runs.push(run);
  }

  unchanged(vaddr: number, bytes: number): void {
    this.#add(vaddr, bytes, flag.parent);
  }

  changed(vaddr: number, bytes: number, offset: number): void {
    this.#add(vaddr, bytes, flag.present);
    this.ranges.add(offset, bytes);
  }

  #add(vaddr: number, bytes: number, flags: number): void {
    const last = this.runs.at(-1);
    if (last && last.flags === flags && last.vaddr + last.pages * page === vaddr) last.pages += bytes / page;
    else this.runs.push({ vaddr, pages: bytes / page, flags });
  }
}

/** Two stretches of the two files. */
interface Pair {
  place: number;
  parentPlace: number;
  length: number;
}

/** Reads what most likely comes next while what it has is compared. */
class Comparer {
  readonly #files: [FileHandle, FileHandle];
  readonly #buffers = [0, 1].map(() => [Buffer.allocUnsafeSlow(chunkBytes), Buffer.allocUnsafeSlow(chunkBytes)] as const);
  #turn = 0;
  #ahead: (Pair & { whole: Promise<boolean> }) | undefined;

  constructor(file: FileHandle, parent: FileHandle) {
    this.#files = [file, parent];
  }

  /** Which parts of the two stretches are the same. */
  async compare(place: number, parentPlace: number, length: number): Promise<{ same: boolean; start: number; length: number }[]> {
    const ahead = this.#ahead;
    const known = ahead?.place === place && ahead.parentPlace === parentPlace && ahead.length >= length;
    // It goes into the same buffers: also what is not wanted has to have come to its end.
    const isThere = await ahead?.whole;
    const [left, right] = this.#buffers[this.#turn] as readonly [Buffer, Buffer];
    // What cannot be read whole counts as changed; who ships it sees that it is short.
    const isWhole = (known && isThere) || (await this.#read({ place, parentPlace, length }));
    this.#turn ^= 1;
    const next = { place: place + length, parentPlace: parentPlace + length, length: chunkBytes };
    this.#ahead = { ...next, whole: this.#read(next).catch(() => false) };
    if (!isWhole) return [{ same: false, start: 0, length }];
    if (left.compare(right, 0, length, 0, length) === 0) return [{ same: true, start: 0, length }];
    const parts: { same: boolean; start: number; length: number }[] = [];
    for (let start = 0; start < length; start += page) {
      const same = left.compare(right, start, start + page, start, start + page) === 0;
      const last = parts.at(-1);
      if (last?.same === same) last.length += page;
      else parts.push({ same, start, length: page });
    }
    return parts;
  }

  /** Into the buffers whose turn it is; false: there is not so much. */
  async #read({ place, parentPlace, length }: Pair): Promise<boolean> {
    const [file, parent] = this.#files;
    const [left, right] = this.#buffers[this.#turn] as readonly [Buffer, Buffer];
    const [now, before] = await Promise.all([file.read(left, 0, length, place), parent.read(right, 0, length, parentPlace)]);
    return now.bytesRead === length && before.bytesRead === length;
  }

  /** Waits for what is still being read. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ahead?.whole;
  }
}
