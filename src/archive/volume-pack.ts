import { type BigIntStats, constants } from 'node:fs';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { bulkBuffer } from '../util/bulk-buffer.ts';
import { bulkHighWaterMark, HashingStream } from '../util/hashing.ts';
import { ArchiveError } from './errors.ts';
import { blockSize, displayName, encodeHeader, paddingOf } from './tar.ts';
import { Skipped, sparseRecord, type VolumeSummary, volumeError } from './volume.ts';
import { readXattrs, toPax } from './xattrs.ts';

/**
 * Packs a directory's content as a tar stream (see `VolumeSummary` for what is kept). Nothing may write to it meanwhile;
 * a file that shrinks while it is read fails the stream. Memory is bounded but for one entry per hard-linked file.
 *
 * Both `output` and `summary` fail with an ArchiveError: `io`, `aborted`.
 */
export function packVolume(
  directory: string,
  options: { signal?: AbortSignal } = {},
): { output: Readable; summary: Promise<VolumeSummary> } {
  const skipped = new Skipped();
  const counter = { entries: 0 };
  const source = Readable.from(wrapErrors(directory, walk(directory, skipped, counter)), {
    objectMode: false,
    highWaterMark: bulkHighWaterMark,
  });
  const output = new HashingStream();
  const summary = pipeline(source, output, { ...(options.signal && { signal: options.signal }) }).then(
    () => ({
      digest: output.digest,
      bytes: output.bytes,
      entries: counter.entries,
      skipped: skipped.skipped,
      skippedCount: skipped.skippedCount,
    }),
    (error) => {
      throw volumeError('packing', directory, error);
    },
  );
  // Who reads the output learns of a failure there; not looking at the summary as well must not end the process.
  summary.catch(() => undefined);
  return { output, summary };
}

async function* wrapErrors(directory: string, parts: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* parts;
  } catch (error) {
    throw volumeError('packing', directory, error);
  }
}

/** Names inside are byte strings (see tar.ts). */
async function* walk(directory: string, skipped: Skipped, counter: { entries: number }): AsyncGenerator<Buffer> {
  const root = Buffer.from(directory).toString('latin1');
  const rootStat = await lstat(directory, { bigint: true });
  if (!rootStat.isDirectory()) throw new ArchiveError('io', `packing volume ${directory}: it is not a directory`);
  /** First name of every file that has more than one. */
  const links = new Map<string, string>();
  const { byPath: xattrs, problem } = await readXattrs(directory);
  if (problem !== undefined) skipped.add('extended attributes', problem);
  const header = (name: string, stat: BigIntStats, type: string, linkname = '', size = 0, sparse = false) => {
    counter.entries++;
    const seconds = Number(stat.mtimeNs / 1_000_000_000n);
    const fraction = stat.mtimeNs % 1_000_000_000n;
    const records = new Map<string, string>();
    if (sparse) records.set(sparseRecord, '1');
    const attributes = type === '1' ? undefined : xattrs.get(name === './' ? '.' : name.replace(/\/$/, ''));
    for (const [key, value] of attributes ? toPax(attributes) : []) records.set(key, value);
    // Times before 1970 are left to the whole second.
    if (fraction > 0n) records.set('mtime', `${seconds}.${fraction.toString().padStart(9, '0')}`);
    const fields = {
      name,
      mode: Number(stat.mode) & 0o7777,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size,
      mtime: seconds,
      type,
      linkname,
    };
    return encodeHeader(fields, records);
  };

  yield header('./', rootStat, '5');
  /** Directories still to be listed, as names relative to the root, with a trailing slash. */
  const queue = [''];
  for (let current = queue.pop(); current !== undefined; current = queue.pop()) {
    const names = await readdir(Buffer.from(`${root}/${current}`, 'latin1'), { encoding: 'buffer' });
    for (const child of names.map((name) => name.toString('latin1')).sort()) {
      const name = current + child;
      const path = Buffer.from(`${root}/${name}`, 'latin1');
      const stat = await lstat(path, { bigint: true });
      if (stat.isDirectory()) {
        if (stat.dev !== rootStat.dev) {
          skipped.add(displayName(name), 'another file system is mounted there');
          continue;
        }
        yield header(`${name}/`, stat, '5');
        queue.push(`${name}/`);
        continue;
      }
      if (stat.isSocket() || stat.isBlockDevice() || stat.isCharacterDevice()) {
        skipped.add(displayName(name), stat.isSocket() ? 'a socket' : 'a device node');
        continue;
      }
      const first = links.get(String(stat.ino));
      if (first !== undefined) {
        yield header(name, stat, '1', first);
        continue;
      }
      if (stat.nlink > 1n) links.set(String(stat.ino), name);
      if (stat.isSymbolicLink()) {
        yield header(name, stat, '2', (await readlink(path, { encoding: 'buffer' })).toString('latin1'));
      } else if (stat.isFIFO()) {
        yield header(name, stat, '6');
      } else {
        const size = Number(stat.size);
        yield header(name, stat, '0', '', size, stat.blocks * 512n < stat.size);
        yield* content(path, name, size);
      }
    }
  }
  yield Buffer.alloc(2 * blockSize);
}

async function* content(path: Buffer, name: string, size: number): AsyncGenerator<Buffer> {
  if (size === 0) return;
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  for (let at = 0; at < size; ) {
    const buffer = bulkBuffer(Math.min(bulkHighWaterMark, size - at));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) throw new ArchiveError('io', `${displayName(name)} shrank from ${size} to ${at} bytes while it was read`);
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
  const padding = paddingOf(size);
  if (padding > 0) yield Buffer.alloc(padding);
}
