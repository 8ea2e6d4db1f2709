import { closeSync, openSync, readSync } from 'node:fs';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { bulkBuffer, bulkOffset } from '../util/bulk-buffer.ts';
import type { FromPageThread, Gathering, ToPageThread } from './page-comparer.ts';

/** The thread that compares pages (see `page-comparer.ts`); it loads as little as it can, since a pod waits for it. */

/** Read of either file at a time: two of them fit into a core's second cache, beside what others leave there. Bytes. */
const chunkBytes = 64 * 1024;

/** How far memory that moved is looked for, each way. Bytes. */
const windowBytes = 1024 * 1024;

/** Pages by which it is looked for, evenly over a stretch: any of them may have changed. */
const samples = 4;

const [left, right] = [bulkBuffer(chunkBytes), bulkBuffer(chunkBytes)];
/** One for all searches: memory that is large and soon not needed is not noticed by the collector of garbage before there is a lot of it (4 GiB: 100 MB). */
let searched: Buffer | undefined;
const owner = parentPort as MessagePort;

owner.on('message', (asked: ToPageThread) => {
  const reply = (answer: FromPageThread, transferred: ArrayBuffer[] = []) => owner.postMessage(answer, transferred);
  const { id } = asked;
  const opened: number[] = [];
  const open = (path: string) => {
    const file = openSync(path, 'r');
    opened.push(file);
    return file;
  };
  try {
    if ('memory' in asked) reply({ id, memory: asked.memory, bytes: gather(open(asked.path), asked) }, [asked.memory]);
    else {
      const files = { now: open(asked.paths[0]), before: open(asked.paths[1]), page: asked.page };
      reply({ id, ...('pairs' in asked ? comparePairs(files, asked.pairs) : compareStretches(files, asked)) });
    }
  } catch (error) {
    reply({ id, failure: (error as Error).message });
  } finally {
    opened.forEach(closeSync);
  }
});

/** @returns how many bytes there are; where the file ends, so do they */
function gather(file: number, { parts, memory }: Gathering): number {
  const into = new Uint8Array(memory, bulkOffset);
  let bytes = 0;
  for (let index = 0; index < parts.length; index += 2) {
    const [position = 0, length = 0] = parts.subarray(index, index + 2);
    for (let filled = 0; filled < length; ) {
      const read = readSync(file, into, bytes, length - filled, position + filled);
      if (read === 0) return bytes;
      filled += read;
      bytes += read;
    }
  }
  return bytes;
}

interface Files {
  now: number;
  before: number;
  page: number;
}

function comparePairs(files: Files, pairs: Float64Array): { differs: Uint8Array } {
  let bytes = 0;
  for (let index = 2; index < pairs.length; index += 3) bytes += pairs[index] as number;
  const differs = new Uint8Array(bytes / files.page);
  for (let index = 0, at = 0; index < pairs.length; index += 3) {
    const [place = 0, parentPlace = 0, length = 0] = pairs.subarray(index, index + 3);
    const part = differs.subarray(at, at + length / files.page);
    compare(files, place, parentPlace, part);
    at += part.length;
  }
  return { differs };
}

/** Each at the distance of the one before, and, if that is most likely wrong, at one where a page of it is found. */
function compareStretches(
  files: Files,
  { place, count, stretch, shift }: { place: number; count: number; stretch: number; shift: number },
): { differs: Uint8Array; shifts: Float64Array } {
  const pages = stretch / files.page;
  const differs = new Uint8Array(count * pages);
  const shifts = new Float64Array(count);
  let current = shift;
  for (let index = 0; index < count; index++) {
    const part = differs.subarray(index * pages, (index + 1) * pages);
    const at = place + index * stretch;
    if (compare(files, at, at + current, part) > pages / 2) {
      const found = findShift(files, at, stretch, current);
      if (found !== undefined && found !== current) {
        current = found;
        compare(files, at, at + current, part);
      }
    }
    shifts[index] = current;
  }
  return { differs, shifts };
}

/** @returns how many pages differ */
function compare({ now, before, page }: Files, place: number, parentPlace: number, differs: Uint8Array): number {
  differs.fill(0);
  let count = 0;
  const length = differs.length * page;
  for (let done = 0; done < length; done += chunkBytes) {
    const size = Math.min(chunkBytes, length - done);
    const isWhole = fill(now, left, place + done, size) && fill(before, right, parentPlace + done, size);
    if (isWhole && left.compare(right, 0, size, 0, size) === 0) continue;
    for (let start = 0; start < size; start += page) {
      if (isWhole && left.compare(right, start, start + page, start, start + page) === 0) continue;
      differs[(done + start) / page] = 1;
      count++;
    }
  }
  return count;
}

function findShift({ now, before, page }: Files, place: number, stretch: number, shift: number): number | undefined {
  searched ??= bulkBuffer(2 * windowBytes + page);
  const [sample, window] = [left.subarray(0, page), searched];
  for (let index = 0; index < samples; index++) {
    const at = place + Math.floor(((index / samples) * stretch) / page) * page;
    const from = Math.max(0, at + shift - windowBytes);
    const read = readSync(before, window, 0, window.length, from);
    // A page like its neighbour is everywhere.
    if (!fill(now, sample, at, page) || sample.equals(window.subarray(0, page))) continue;
    for (let found = window.indexOf(sample); found >= 0 && found < read; found = window.indexOf(sample, found + 1))
      if ((from + found) % page === 0) return from + found - at;
  }
  return undefined;
}

/** False: there is not so much. */
function fill(file: number, buffer: Buffer, position: number, length: number): boolean {
  if (position < 0) return false;
  for (let filled = 0; filled < length; ) {
    const read = readSync(file, buffer, filled, length - filled, position + filled);
    if (read === 0) return false;
    filled += read;
  }
  return true;
}
