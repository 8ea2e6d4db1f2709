import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ComparedAhead, deltaOf } from '../archive/delta.ts';
import { type Added, type Content, imagesDirectory, isPages, type Pages, packCheckpoint } from '../archive/directory.ts';
import { ArchiveError } from '../archive/errors.ts';
import { LetGo, leastToLetGo } from '../archive/page-cache.ts';
import type { PageComparer } from '../archive/page-comparer.ts';
import { loadPagemap, pagesBytes } from '../archive/pagemap.ts';
import { Ranges, RangesOfFile } from '../archive/ranges.ts';
import type { BlobInfo } from '../image/blob.ts';
import { ImageError } from '../image/errors.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { together } from '../util/together.ts';
import { linksFile } from './criu-hook.ts';
import { memoryWritten } from './dump-stages.ts';
import { assertWhole, eachFileOfMemory, flushedOnce, type PagesRoute, progressByPart } from './ship-directory.ts';
import type { WarmLayer } from './source-record.ts';

/** In the directory of a round: page maps as the destination's restore is to see them. */
export const mapsDirectory = 'maps';

const isProcessMap = (name: string) => /^pagemap-[0-9]+\.img$/.test(name);

/** Keeps the page maps of a dump that is sent whole. */
export async function keepMaps(path: string): Promise<void> {
  const [images, maps] = [join(path, imagesDirectory), join(path, mapsDirectory)];
  await mkdir(maps, { recursive: true, mode: 0o700 });
  for (const name of (await readdir(images)).filter(isProcessMap)) await copyFile(join(images, name), join(maps, name));
}

/** What of a file of memory is to be sent: into the destination's file, and beside it. */
class Changes {
  readonly changed = new Ranges();
  readonly added = new Ranges();
  /** Both, where that is so little that nothing is patched. */
  few: Ranges | undefined;
  /** Resolves when there will be no more. */
  readonly known = Promise.withResolvers<void>();
  /** The file on the destination that it changes; undefined: none, all of it goes beside. */
  readonly patched = Promise.withResolvers<string | undefined>();

  constructor() {
    // Not all of them have somebody who waits.
    for (const { promise } of [this.known, this.patched]) promise.catch(() => undefined);
  }

  fail(error: unknown): void {
    this.known.reject(error);
    this.patched.reject(error);
  }
}

/** Where the memory of an archive is on the destination. */
export interface Beside {
  /** Files that lie beside the archive: its own, and those of its parent. */
  own: Pages;
  parent: Pages;
  /** What is so little that it goes in the archive itself, read when it is its turn, and page maps that say what is whose. */
  inArchive: [name: string, content: Buffer | Content][];
}

/**
 * Of memory that is new since the first round as much as this goes in the archive: an upload of its own takes longer, and the
 * destination writes what changed meanwhile, in the thread that would take it in. A process that does little has 4 MiB. Bytes, of a file.
 */
const mostInArchive = 6 * 1024 * 1024;

/** The way of what changed. */
export interface ChangesRoute extends PagesRoute {
  /** Whether the destination has a blob. */
  has(digest: string, signal: AbortSignal): Promise<boolean>;
}

/** What was sent ahead of a container. */
export interface Ahead {
  layers: WarmLayer[];
  /** Names of the page maps of processes that were there in every round, and whose memory on the destination is theirs alone. */
  comparable: Promise<ReadonlySet<string>>;
}

/** Begins to look which processes can be compared: that is known, then, when the dump is complete. */
export function aheadOf(layers: WarmLayer[]): Ahead {
  const comparable = comparableIn(layers);
  comparable.catch(() => undefined);
  return { layers, comparable };
}

/**
 * Sends of a dump's memory what is another than in the last one of the same container, into the files that the destination has,
 * and makes the page maps that say so; of a round they are left in `mapsDirectory`. While CRIU writes, both are compared.
 *
 * @param path of the dump
 * @param whole resolves when the dump is complete
 * @param route.readAgain of a pod that runs on: what the destination has no place for waits for the freeze
 * @returns what the destination has then, and what was sent, bytes
 * @throws ArchiveError when it is cut short, `changed` when it was not written in the order that is relied on (`memoryWritten`); ImageError
 *   `not-found` when the destination has lost what was sent ahead
 */
export async function shipChanges(
  path: string,
  { layers, comparable }: Ahead,
  whole: Promise<void>,
  comparer: PageComparer,
  { client, repository, flow, signal, readAgain, has }: ChangesRoute,
): Promise<Beside & { bytes: number }> {
  const [first, parent] = [layers[0], layers.at(-1)];
  if (!first || !parent) throw new Error('nothing was sent ahead');
  const [images, parentImages, maps] = [join(path, imagesDirectory), join(parent.path, imagesDirectory), join(path, mapsDirectory)];
  const checkpoints = {
    directory: images,
    parent: parentImages,
    layout: join(first.path, mapsDirectory),
    ...(parent !== first && { last: join(parent.path, mapsDirectory) }),
  };
  const [earlier] = await Promise.all([
    readdir(parentImages).then((names) => new Set(names)),
    readAgain && mkdir(maps, { recursive: true, mode: 0o700 }),
  ]);
  const ahead = new ComparedAhead(checkpoints, comparer);
  const sizeOf = async (name: string) => (await stat(join(images, name))).size;
  const written = memoryWritten(images, whole, signal);
  written.catch(() => undefined);
  const changes = new Map<string, Changes>();
  let failure: { error: unknown } | undefined;
  const changesOf = (name: string) => {
    const found = changes.get(name) ?? new Changes();
    changes.set(name, found);
    // A file may be found just after it.
    if (failure) found.fail(failure.error);
    return found;
  };
  const [patched, added] = [new Map<string, BlobInfo>(Object.entries(parent.pages)), new Map<string, BlobInfo>()];
  const inArchive: Beside['inArchive'] = [];
  let bytes = 0;
  const progressOf = progressByPart(flow);
  const send = async (name: string, stop: AbortSignal) => {
    const found = changesOf(name);
    const rangesOf = (ranges: Ranges) => new RangesOfFile(join(images, name), ranges, comparer, found.known.promise);
    const upload = async (source: RangesOfFile, what: string, patch?: string) => {
      const options = { signal: stop, pace: flow.pace, onProgress: progressOf(`${name}, ${what}`), ...(patch !== undefined && { patch }) };
      const sent = await client.uploadAppended(repository, source, options);
      bytes += sent.size;
      return sent;
    };
    const change = async () => {
      const base = await found.patched.promise;
      const before = base === undefined ? undefined : parent.pages[base];
      if (base === undefined || !before) return;
      const { digest } = await upload(rangesOf(found.changed), 'changed', before.digest);
      patched.set(base, { digest, size: before.size });
    };
    const add = async () => {
      const source = rangesOf(found.added);
      if ((await source.available(mostInArchive, stop)) === 0) {
        const own = found.few ?? found.added;
        inArchive.push([name, contentOf(rangesOf(own), own.bytes)]);
      } else {
        const { digest, size } = await upload(source, 'added');
        added.set(name, { digest, size });
      }
    };
    await together(stop, (end) => [
      ...(readAgain ? [flushedOnce(whole, join(images, name))] : []),
      ...(earlier.has(name) ? [ahead.file(name, written, end)] : []),
      change(),
      ...(readAgain ? [] : [add()]),
    ]);
    // Not waited for: what comes next is glad of the memory.
    if (readAgain || (await sizeOf(name)) < leastToLetGo) return;
    void new LetGo(join(parentImages, name)).all();
  };
  /** Where nothing is patched nobody else would notice that it is gone. Undefined: it is not known, and so it has to be patched. */
  const isThere = async (stop: AbortSignal) => {
    if (readAgain) return undefined;
    const found = await Promise.all(Object.values(parent.pages).map(({ digest }) => has(digest, stop))).catch(() => undefined);
    return found?.every(Boolean);
  };
  /** @returns the files of memory that these page maps are of */
  const compareProcesses = async (pageMaps: string[], there: boolean | undefined, stop: AbortSignal) => {
    const compared: string[] = [];
    for (const name of pageMaps) {
      const ranges = (which: 'changed' | 'added') => (file: string) => changesOf(file)[which];
      const delta = await deltaOf(name, checkpoints, { comparer, ahead, changed: ranges('changed'), added: ranges('added') }, stop);
      const found = changesOf(delta.pages);
      const few = there ? await delta.few : undefined;
      found.few = few?.pages;
      found.patched.resolve(few ? undefined : delta.patched);
      const map = few?.pagemap ?? (await delta.pagemap);
      if (readAgain) await writeFile(join(maps, name), map, { mode: 0o600 });
      else inArchive.push([name, map]);
      compared.push(delta.pages);
    }
    return compared;
  };
  const compare = async (stop: AbortSignal) => {
    const [there] = await Promise.all([isThere(stop), written]);
    if (there === false) throw new ImageError('not-found', 'the destination has lost memory that was sent ahead');
    await ahead.end();
    const theirs = await comparable;
    const before = await statesOf(images, (name) => isPages(name) || theirs.has(name));
    const early = [...before.keys()].filter((name) => theirs.has(name));
    const compared = await compareProcesses(early, there, stop);
    await whole;
    const names = await readdir(images);
    await Promise.all([assertWhole(images, sizeOf), assertSame(images, before, [...early, ...compared])]);
    const late = names.filter((name) => theirs.has(name) && !early.includes(name));
    compared.push(...(await compareProcesses(late, there, stop)));
    for (const name of names.filter(isPages)) {
      const { added: all, known, patched: base } = changesOf(name);
      if (!compared.includes(name)) {
        base.resolve(undefined);
        all.add(0, await sizeOf(name));
      }
      known.resolve();
    }
  };
  const comparing = async (stop: AbortSignal) => {
    try {
      await compare(stop);
    } catch (error) {
      failure = { error };
      for (const each of changes.values()) each.fail(error);
      throw error;
    }
  };
  await together(signal, (stop) => [eachFileOfMemory(images, whole, stop, send), comparing(stop)]);
  return { own: added, parent: patched, inArchive, bytes };
}

/** What the page maps of processes, and the files that they are of, are like. */
async function statesOf(images: string, which: (name: string) => boolean): Promise<Map<string, string>> {
  const names = (await readdir(images)).filter(which);
  return new Map(await Promise.all(names.map(async (name): Promise<[string, string]> => [name, await stateOf(images, name)])));
}

async function stateOf(images: string, name: string): Promise<string> {
  const { size, mtimeMs } = await stat(join(images, name));
  return `${size} bytes at ${mtimeMs}`;
}

/** CRIU only appends to them: what is as it was when it was read was complete then. @throws ArchiveError `changed` */
async function assertSame(images: string, before: Map<string, string>, names: string[]): Promise<void> {
  const changed = await Promise.all(names.map(async (name) => (await stateOf(images, name)) !== before.get(name)));
  const which = names.filter((_name, index) => changed[index]);
  if (which.length > 0) throw new ArchiveError('changed', `CRIU went on with ${which.join(', ')} after the memory of all processes`);
}

async function comparableIn(layers: WarmLayer[]): Promise<ReadonlySet<string>> {
  const [first, last] = [layers[0], layers.at(-1)];
  if (!first || !last) return new Set();
  const maps = [join(first.path, mapsDirectory), join(last.path, mapsDirectory), join(last.path, imagesDirectory)];
  const [names = [], ...others] = await Promise.all(maps.map((directory) => readdir(directory)));
  const inAll = names.filter((name) => isProcessMap(name) && others.every((there) => there.includes(name)));
  // Processes whose memory was the same have one file on the destination: to write into it for one would take it from the other.
  const digests = Object.values(last.pages).map(({ digest }) => digest);
  const isOwn = (name: string) => {
    const { id } = loadPagemap(join(first.path, mapsDirectory, name));
    const digest = last.pages[`pages-${id}.img`]?.digest;
    return digests.filter((each) => each === digest).length === 1;
  };
  return new Set(inAll.filter(isOwn));
}

function contentOf(source: RangesOfFile, size: number): Content {
  const read = async function* () {
    for (let at = 0; at < size; ) {
      const piece = Buffer.alloc(Math.min(bulkHighWaterMark, size - at));
      const bytes = await source.read(piece, at);
      if (bytes < piece.length)
        throw new ArchiveError('truncated', `a file of memory has ${size - at - bytes} bytes less than a moment ago`);
      yield piece;
      at += bytes;
    }
  };
  return { size, read };
}

/** What CRIU wrote of memory. Bytes. */
export async function memoryOf(path: string): Promise<number> {
  return [...(await pagesBytes(join(path, imagesDirectory))).values()].reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * A checkpoint as an archive in which the memory is named by where it lies on the destination; the links are made there
 * before CRIU reads them (`criu-hook.ts`). With earlier rounds it is an incremental one: what was sent ahead, and patched since, is
 * its parent, which CRIU finds in `parent/`.
 *
 * @param pages need not be known before the rest has been read
 * @param contentDirectory where the destination keeps blobs, by the hexadecimal digits of their digests
 */
export async function packWithoutPages(
  directory: string,
  pages: Promise<Beside>,
  contentDirectory: string,
  { layers, comparable }: Ahead = aheadOf([]),
): Promise<Readable> {
  // It may fail before it is waited for.
  pages.catch(() => undefined);
  const compared = await comparable;
  const without = (name: string) => {
    const image = name.startsWith(`${imagesDirectory}/`) ? name.slice(imagesDirectory.length + 1) : '';
    return isPages(image) || compared.has(image) || name === mapsDirectory || name.startsWith(`${mapsDirectory}/`);
  };
  return packCheckpoint(directory, { without, added: addedFiles(pages, contentDirectory, layers[0]) });
}

async function* addedFiles(pages: Promise<Beside>, contentDirectory: string, layout: WarmLayer | undefined): AsyncGenerator<Added> {
  const laidOut = layout ? mapsIn(join(layout.path, mapsDirectory)) : Promise.resolve([]);
  laidOut.catch(() => undefined);
  const { own, parent, inArchive } = await pages;
  const linksTo = (files: Pages, under: string) =>
    [...files].map(([name, { digest }]) => `${under}${name} ${join(contentDirectory, digest.replace('sha256:', ''))}`);
  const links = [...linksTo(own, ''), ...linksTo(parent, 'parent/')];
  for (const [name, content] of inArchive) yield [`${imagesDirectory}/${name}`, content];
  for (const [name, map] of await laidOut) {
    const kept = `podferry.parent.${name}`;
    yield [`${imagesDirectory}/${kept}`, map];
    links.push(`parent/${name} ${kept}`);
  }
  yield [`${imagesDirectory}/${linksFile}`, links.map((line) => `${line}\n`).join('')];
}

async function mapsIn(maps: string): Promise<[string, Buffer][]> {
  const names = await readdir(maps);
  return Promise.all(names.map(async (name): Promise<[string, Buffer]> => [name, await readFile(join(maps, name))]));
}
