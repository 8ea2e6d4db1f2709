import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lchown, link, lstat, lutimes, mkdir, open, readdir, rm, symlink } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';
import { promisify } from 'node:util';
import { messageOf } from '../util/errors.ts';
import { ArchiveError } from './errors.ts';
import { displayName } from './tar.ts';
import { type TarEntry, TarParser } from './tar-parser.ts';
import { Skipped, sparseRecord, type VolumeSummary, volumeError } from './volume.ts';
import { fromPax, writeXattrs, type Xattrs } from './xattrs.ts';

/** Holes are kept in steps of this many bytes, a page and the usual block of a file system. */
const holeStep = 4096;
const zeros = Buffer.alloc(holeStep);

/** Files whose fsync may be under way at once: the file system commits them together. */
const maxFlushing = 32;

/**
 * Unpacks what `packVolume` made into a directory, which is created if it does not exist and must be empty (`replace`
 * empties it first, as after a crash half-way). When it resolves, everything is on disk (fsync of files and directories).
 *
 * Safe for archives from anywhere: no entry can be written outside the directory (no absolute names, no `..`, never
 * through a symlink, nothing twice). After a failure the directory is incomplete and must be emptied.
 *
 * @throws ArchiveError `unsafe-entry`, `truncated`, `malformed`, `no-space`, `io`, `aborted`
 */
export async function unpackVolume(
  input: Readable,
  directory: string,
  options: { signal?: AbortSignal; replace?: boolean } = {},
): Promise<VolumeSummary> {
  const unpacker = new Unpacker(directory);
  try {
    options.signal?.throwIfAborted();
    await mkdir(directory, { recursive: true });
    for (const name of await readdir(directory, { encoding: 'buffer' })) {
      if (!options.replace) throw new ArchiveError('io', `unpacking volume ${directory}: the directory is not empty`);
      await rm(Buffer.concat([Buffer.from(`${directory}/`), name]), { recursive: true });
    }
    if (options.signal) addAbortSignal(options.signal, input);
    const hash = createHash('sha256');
    const parser = new TarParser();
    let bytes = 0;
    for await (const chunk of input as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
      for (const part of parser.feed(chunk)) {
        if (part.kind === 'entry') await unpacker.begin(part.entry);
        else if (part.kind === 'data') await unpacker.data(part.data);
        else if (part.kind === 'end') await unpacker.end();
      }
    }
    parser.finish();
    await unpacker.finish();
    const { skipped, skippedCount } = unpacker.skipped;
    return { digest: `sha256:${hash.digest('hex')}`, bytes, entries: unpacker.entries, skipped, skippedCount };
  } catch (error) {
    input.destroy();
    throw volumeError('unpacking', directory, error);
  } finally {
    await unpacker.close();
  }
}

class Unpacker {
  readonly skipped = new Skipped();
  entries = 0;
  readonly #root: string;
  /** Real directories inside, made here, with what is to be set once their content is there; the root is `''`. */
  readonly #directories = new Map<string, TarEntry | undefined>([['', undefined]]);
  readonly #flushing = new Set<Promise<void>>();
  readonly #xattrs = new Map<string, Xattrs>();
  #flushError: unknown;
  #file: { handle: FileHandle; entry: TarEntry; at: number; sparse: boolean } | undefined;

  constructor(directory: string) {
    this.#root = Buffer.from(directory).toString('latin1');
  }

  async begin(entry: TarEntry): Promise<void> {
    const name = safeName(entry.name);
    const path = this.#path(name);
    const attributes = fromPax(entry.pax);
    if (attributes.size && entry.type !== '1') this.#xattrs.set(name || '.', attributes);
    if (entry.type === '5' && name === '') {
      this.#directories.set('', entry);
      this.entries++;
      return;
    }
    this.#requireDirectory(name);
    try {
      switch (entry.type) {
        case '5':
          await mkdir(path, 0o700);
          this.#directories.set(name, entry);
          break;
        case '0':
        case '7': {
          const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
          this.#file = { handle: await open(path, flags, 0o600), entry, at: 0, sparse: entry.pax.get(sparseRecord) === '1' };
          break;
        }
        case '1':
          await this.#link(entry, path);
          break;
        case '2':
          await symlink(Buffer.from(entry.linkname, 'latin1'), path);
          await lchown(path, entry.uid, entry.gid);
          await lutimes(path, entry.mtime, entry.mtime);
          break;
        case '6':
          await this.#fifo(entry, name, path);
          return;
        default:
          this.skipped.add(displayName(name), `an entry of type ${JSON.stringify(entry.type)}`);
          return;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST')
        throw new ArchiveError('unsafe-entry', `${displayName(name)} is in the volume's archive twice`);
      throw error;
    }
    this.entries++;
  }

  async data(chunk: Buffer): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    if (!file.sparse) {
      await writeAll(file.handle, chunk, file.at);
      file.at += chunk.length;
      return;
    }
    // Runs of blocks with something in them are written, blocks of zeros are stepped over.
    let runStart = 0;
    for (let at = 0; at < chunk.length; ) {
      const step = Math.min(holeStep - ((file.at + at) % holeStep), chunk.length - at);
      if (chunk.compare(zeros, 0, step, at, at + step) === 0) {
        if (at > runStart) await writeAll(file.handle, chunk.subarray(runStart, at), file.at + runStart);
        runStart = at + step;
      }
      at += step;
    }
    if (chunk.length > runStart) await writeAll(file.handle, chunk.subarray(runStart), file.at + runStart);
    file.at += chunk.length;
  }

  async end(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    const flush = finishFile(file.handle, file.entry)
      .catch((error: unknown) => {
        this.#flushError ??= error;
      })
      .finally(() => this.#flushing.delete(flush));
    this.#flushing.add(flush);
    if (this.#flushing.size >= maxFlushing) await Promise.race(this.#flushing);
    if (this.#flushError !== undefined) throw this.#flushError;
  }

  /** Sets what directories have, innermost first (writing into one changes its time), and makes everything durable. */
  async finish(): Promise<void> {
    await Promise.all(this.#flushing);
    if (this.#flushError !== undefined) throw this.#flushError;
    // After the owners: chown takes a file's capabilities away.
    const problem = await writeXattrs(Buffer.from(this.#root, 'latin1').toString('utf8'), this.#xattrs);
    if (problem !== undefined) this.skipped.add('extended attributes', problem);
    for (const [name, entry] of [...this.#directories].reverse()) {
      await using handle = await open(this.#path(name), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      if (entry !== undefined) await setAttributes(handle, entry);
      await handle.sync();
    }
  }

  /** Closes what is open, whatever happened. */
  async close(): Promise<void> {
    await Promise.all(this.#flushing);
    await this.#file?.handle.close().catch(() => undefined);
  }

  #path(name: string): Buffer {
    return Buffer.from(name === '' ? this.#root : `${this.#root}/${name}`, 'latin1');
  }

  /** The parent must be a directory made here: so nothing is ever written through a symlink. */
  #requireDirectory(name: string): void {
    const slash = name.lastIndexOf('/');
    const parent = slash === -1 ? '' : name.slice(0, slash);
    if (!this.#directories.has(parent)) {
      throw new ArchiveError(
        'unsafe-entry',
        `${displayName(name)}: its directory is not in the volume's archive before it, or is no directory`,
      );
    }
  }

  async #link(entry: TarEntry, path: Buffer): Promise<void> {
    const target = safeName(entry.linkname);
    this.#requireDirectory(target);
    // link(2) does not follow a symlink at the end of the path; the directories before it are ours.
    const stat = await lstat(this.#path(target)).catch(() => undefined);
    if (stat === undefined || stat.isDirectory()) {
      throw new ArchiveError(
        'malformed',
        `${displayName(entry.name)} is a hard link to ${displayName(target)}, which is not there before it`,
      );
    }
    await link(this.#path(target), path);
  }

  /** Node.js has no mkfifo(2); coreutils have it. */
  async #fifo(entry: TarEntry, name: string, path: Buffer): Promise<void> {
    const argument = path.toString('utf8');
    if (!Buffer.from(argument).equals(path)) {
      this.skipped.add(displayName(name), 'a FIFO whose name is not UTF-8');
      return;
    }
    try {
      await promisify(execFile)('mkfifo', ['-m', (entry.mode & 0o777).toString(8), '--', argument]);
    } catch (error) {
      this.skipped.add(displayName(name), `a FIFO, and mkfifo failed: ${messageOf(error)}`);
      return;
    }
    await lchown(path, entry.uid, entry.gid);
    await lutimes(path, entry.mtime, entry.mtime);
    this.entries++;
  }
}

/** A name relative to the root, without `./` and trailing slash; `''` is the root itself. */
function safeName(name: string): string {
  const relative = name.replace(/^(\.\/+)+/, '').replace(/\/+$/, '');
  if (relative === '.' || (relative === '' && name !== '')) {
    if (name.startsWith('/')) throw new ArchiveError('unsafe-entry', `${displayName(name)} is an absolute name`);
    return '';
  }
  if (relative.split('/').some((part) => part === '' || part === '.' || part === '..') || relative.includes('\0')) {
    throw new ArchiveError(
      'unsafe-entry',
      `${JSON.stringify(displayName(name))} would be written outside the volume, or is no proper name`,
    );
  }
  return relative;
}

async function writeAll(handle: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let at = 0; at < data.length; ) {
    at += (await handle.write(data, at, data.length - at, position + at)).bytesWritten;
  }
}

async function setAttributes(handle: FileHandle, entry: TarEntry): Promise<void> {
  // Owner before mode: chown clears set-uid and set-gid.
  await handle.chown(entry.uid, entry.gid);
  await handle.chmod(entry.mode & 0o7777);
  await handle.utimes(entry.mtime, entry.mtime);
}

async function finishFile(handle: FileHandle, entry: TarEntry): Promise<void> {
  try {
    await handle.truncate(entry.size);
    await setAttributes(handle, entry);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
