import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import protobuf from 'protobufjs';
import { ArchiveError } from './errors.ts';

/** CRIU's `pagemap-*.img`: which pages of memory stand in `pages-ID.img` (criu: images/pagemap.proto, criu/image.c). */
const { root } = protobuf.parse(
  `syntax = "proto2";
   message Head { required uint32 pages_id = 1; }
   message Entry { required uint64 vaddr = 1; required uint32 compat_nr_pages = 2; optional bool in_parent = 3; optional uint32 flags = 4; optional uint64 nr_pages = 5; }`,
  { keepCase: true },
);
const head = root.lookupType('Head');
const entry = root.lookupType('Entry');

/** Flags of an entry (criu/include/pagemap.h): only what is present has its pages in the file. */
export const flag = { parent: 1, lazy: 2, present: 4 } as const;

/** IMG_COMMON_MAGIC and PAGEMAP_MAGIC (criu/include/magic.h). */
const magic = [0x54564319, 0x56084025] as const;

/** x86-64 and most others; on arm64 it is what the kernel was built with, which CRIU does not write down. */
export const pageSize = process.arch === 'arm64' ? undefined : 4096;

interface Message {
  vaddr: number;
  compat_nr_pages: number;
  in_parent: boolean;
  flags: number;
  nr_pages: number;
}

/** Pages that follow each other in a process's memory. */
export interface PageRun {
  /** Address of the first. */
  vaddr: number;
  pages: number;
  /** Where their content is: in the file, in the parent's, or nowhere (`flag`). */
  flags: number;
}

export const isPresent = ({ flags }: PageRun) => (flags & flag.present) !== 0;

/** A page map as CRIU has it, in the order of its file of pages. */
export interface Pagemap {
  /** Of `pages-ID.img`. */
  id: number;
  runs: PageRun[];
}

/**
 * How long CRIU's files of memory have to be, by what its page maps say. Bytes, by name of the file.
 *
 * @param directory of the images
 * @throws ArchiveError `not-criu`
 */
export async function pagesBytes(directory: string): Promise<Map<string, number>> {
  const bytes = new Map<string, number>();
  if (pageSize === undefined) return bytes;
  for (const name of (await readdir(directory)).filter((candidate) => /^pagemap-(shmem-)?[0-9]+\.img$/.test(candidate))) {
    const { id, runs } = loadPagemap(join(directory, name));
    const pages = runs.filter(isPresent).reduce((sum, run) => sum + run.pages, 0);
    const file = `pages-${id}.img`;
    bytes.set(file, (bytes.get(file) ?? 0) + pages * pageSize);
  }
  return bytes;
}

/**
 * Read at once: it was just written, and in the queue behind the flushing of the files beside it four of them took up to 90 ms, while a pod
 * stands still.
 *
 * @throws ArchiveError `not-criu`
 */
export function loadPagemap(path: string): Pagemap {
  return readPagemap(readFileSync(path), basename(path));
}

/** Messages with their lengths before them, after two magic numbers; the first is the head. @throws ArchiveError `not-criu` */
export function readPagemap(image: Buffer, name: string): Pagemap {
  try {
    if (magic.some((word, index) => image.readUInt32LE(index * 4) !== word)) throw new Error('it begins with something else');
    let id: number | undefined;
    const runs: PageRun[] = [];
    for (let at = 8; at < image.length; ) {
      const end = at + 4 + image.readUInt32LE(at);
      if (end > image.length) throw new Error('it is cut short');
      const message = image.subarray(at + 4, end);
      at = end;
      if (id === undefined) {
        id = (head.decode(message) as unknown as { pages_id: number }).pages_id;
        continue;
      }
      const {
        vaddr = 0,
        nr_pages,
        compat_nr_pages,
        in_parent,
        flags,
      } = entry.toObject(entry.decode(message), { longs: Number }) as Partial<Message>;
      // Older CRIU: without flags all pages are here, but for those of a parent.
      const meant = (flags ?? (in_parent ? 0 : flag.present)) | (in_parent ? flag.parent : 0);
      runs.push({ vaddr, pages: nr_pages ?? compat_nr_pages ?? 0, flags: meant });
    }
    if (id === undefined) throw new Error('it has no head');
    return { id, runs };
  } catch (error) {
    throw new ArchiveError(
      'not-criu',
      `${name} is not the CRIU image it should be: ${(error as Error).message}; the checkpoint is damaged`,
      {
        cause: error,
      },
    );
  }
}

/** The image that `readPagemap` reads. */
export function encodePagemap({ id, runs }: Pagemap): Buffer {
  const encoder = new PagemapEncoder(id);
  for (const run of runs) encoder.add(run);
  return encoder.end();
}

/** More than the longest entry takes. Bytes. */
const entryRoom = 64;

/** Makes that image run by run: with every second page changed there are 131,072 in a GiB, which as objects took 80 MB. */
export class PagemapEncoder {
  #bytes = Buffer.allocUnsafe(4096);
  #length = 0;

  /** @param id of `pages-ID.img` */
  constructor(id: number) {
    for (const word of magic) this.#length = this.#bytes.writeUInt32LE(word, this.#length);
    this.#message(head.encode({ pages_id: id }).finish());
  }

  add({ vaddr, pages, flags }: PageRun): void {
    this.#message(entry.encode({ vaddr, compat_nr_pages: pages, nr_pages: pages, flags }).finish());
  }

  end(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #message(message: Uint8Array): void {
    if (this.#length + entryRoom > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], this.#bytes.length * 2);
    this.#length = this.#bytes.writeUInt32LE(message.length, this.#length);
    this.#bytes.set(message, this.#length);
    this.#length += message.length;
  }
}
