import { createReadStream, fstatSync, lstatSync, readFileSync } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Gather } from '../util/gather.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { ArchiveError } from './errors.ts';
import { Growth } from './growth.ts';
import { blockSize, encodeHeader, paddingOf } from './tar.ts';

/** Directory of CRIU's images in a checkpoint archive. */
export const imagesDirectory = 'checkpoint';

/** CRIU's files of memory that do not travel in the archive: `pages-1.img` to digest and bytes. */
export type Pages = ReadonlyMap<string, { digest: string; size: number }>;

/** Of all of them. Bytes. */
export const pagesSize = (pages: Pages) => [...pages.values()].reduce((sum, { size }) => sum + size, 0);

/** Whether a file in `checkpoint/` is the memory itself: CRIU appends to it and never goes back (criu/page-xfer.c). */
export function isPages(name: string): boolean {
  return /^pages-[0-9]+\.img$/.test(name);
}

/**
 * A checkpoint that lies as a directory, as the tar that an archive is; the same files make the same bytes.
 *
 * @param without files (`checkpoint/pages-1.img`) that are left out
 * @param added files that the directory does not have, with their content; they come last, so that it need not be known before
 */
export function packCheckpoint(directory: string, { without = () => false, added = [] }: Partial<Changes> = {}): Readable {
  return Readable.from(entriesOf(directory, without, added), { objectMode: false, highWaterMark: bulkHighWaterMark });
}

/** A file's content that is read when it is its turn, in pieces. */
export interface Content {
  /** Bytes. */
  size: number;
  read(): AsyncIterable<Buffer>;
}

/** A file that the directory does not have. */
export type Added = [name: string, content: Buffer | string | Content];

interface Changes {
  without: (name: string) => boolean;
  added: AsyncIterable<Added> | Iterable<Added>;
}

async function* entriesOf(directory: string, without: Changes['without'], added: Changes['added']): AsyncGenerator<Buffer> {
  const entry = (name: string, type: string, size: number, mode: number, mtime: number) =>
    encodeHeader({ name, mode, uid: 0, gid: 0, size, mtime, type, linkname: '' });
  const names = (await readdir(directory, { recursive: true })).filter((name) => !without(name)).sort();
  const gather = new Gather();
  for (const name of names) {
    const found = lstatSync(join(directory, name));
    const { mode, size } = found;
    const mtime = Math.floor(found.mtimeMs / 1000);
    if (found.isDirectory()) yield* gather.add(entry(`${name}/`, '5', 0, mode, mtime));
    else if (found.isFile()) {
      yield* gather.add(entry(name, '0', size, mode, mtime));
      for await (const piece of contentOf(join(directory, name), size)) yield* gather.add(piece);
      yield* gather.add(Buffer.alloc(paddingOf(size)));
    } else throw new ArchiveError('malformed', `${join(directory, name)} is neither a file nor a directory`);
  }
  yield* gather.rest();
  for await (const [name, given] of added) {
    const content = typeof given === 'string' ? Buffer.from(given) : given;
    const size = Buffer.isBuffer(content) ? content.length : content.size;
    yield* gather.add(entry(name, '0', size, 0o600, 0));
    if (Buffer.isBuffer(content)) yield* gather.add(content);
    else for await (const piece of content.read()) yield* gather.add(piece);
    yield* gather.add(Buffer.alloc(paddingOf(size)));
  }
  yield* gather.add(Buffer.alloc(2 * blockSize));
  yield* gather.rest();
}

/**
 * A file up to this is read at once. A checkpoint has some forty of them, just written and so in memory, and a pod waits: in the
 * queue behind the flushing of the same files they took 100 to 250 ms. Bytes.
 */
const smallFile = 256 * 1024;

async function* contentOf(path: string, size: number): AsyncGenerator<Buffer> {
  if (size === 0) return;
  let seen = 0;
  const limits = { end: size - 1, highWaterMark: bulkHighWaterMark };
  const chunks = size <= smallFile ? [readFileSync(path).subarray(0, size)] : (createReadStream(path, limits) as AsyncIterable<Buffer>);
  for await (const chunk of chunks) {
    seen += chunk.length;
    yield chunk;
  }
  if (seen !== size) throw new ArchiveError('truncated', `${path} has ${seen} bytes, and had ${size} a moment ago`);
}

/** A file that may still be written to, at its end only. */
export class GrowingFile {
  readonly #file: FileHandle;
  readonly #growth: Growth;

  private constructor(file: FileHandle, whole: Promise<void>) {
    this.#file = file;
    this.#growth = new Growth(whole);
  }

  /** @param whole resolves when nothing is appended any more; what it rejects with fails those who wait for more */
  static async open(path: string, whole: Promise<void>): Promise<GrowingFile> {
    return new GrowingFile(await open(path, 'r'), whole);
  }

  /** How many bytes there are from `position` on; waits until there are any. 0: it has ended there. */
  available(position: number, signal: AbortSignal | undefined): Promise<number> {
    return this.#growth.beyond(position, () => this.#size, signal);
  }

  /** Fills the buffer from `position` on, as far as the file goes. */
  async read(buffer: Buffer, position: number): Promise<number> {
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await this.#file.read(buffer, filled, buffer.length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  get #size(): number {
    return fstatSync(this.#file.fd).size;
  }
}
