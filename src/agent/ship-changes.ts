import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ComparedAhead, deltaOf } from '../archive/delta.ts';
import { GrowingFile, imagesDirectory, isPages, type Pages, packCheckpoint } from '../archive/directory.ts';
import { LetGo, leastToLetGo } from '../archive/page-cache.ts';
import type { PageComparer } from '../archive/page-comparer.ts';
import { pagesBytes } from '../archive/pagemap.ts';
import { Ranges, RangesOfFile } from '../archive/ranges.ts';
import type { BlobInfo } from '../image/blob-store.ts';
import { together } from '../util/together.ts';
import { linksFile } from './criu-hook.ts';
import { assertWhole, eachFileOfMemory, type PagesRoute, progressByPart } from './ship-directory.ts';
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

/** What of a file of memory is to be sent. */
interface Changes {
  ranges: Ranges;
  /** Resolves when there will be no more. */
  known: PromiseWithResolvers<void>;
}

/**
 * Sends of a dump's memory what is not in an earlier one of the same container, and leaves the page maps that say so in
 * `mapsDirectory`. While CRIU writes, both are compared and the uploads are begun: little is left to be done when it ends.
 *
 * @param path of the dump
 * @param parent path of the earlier one
 * @param whole resolves when the dump is complete
 * @throws ArchiveError when it is cut short
 */
export async function shipChanges(
  path: string,
  parent: string,
  whole: Promise<void>,
  comparer: PageComparer,
  { client, repository, flow, signal, readAgain }: PagesRoute,
): Promise<Pages> {
  const [images, parentImages, maps] = [join(path, imagesDirectory), join(parent, imagesDirectory), join(path, mapsDirectory)];
  const checkpoints = { directory: images, parent: parentImages };
  const earlier = new Set(await readdir(parentImages));
  const ahead = new ComparedAhead(checkpoints, comparer);
  const changes = new Map<string, Changes>();
  const changesOf = (name: string) => {
    const found = changes.get(name) ?? { ranges: new Ranges(), known: Promise.withResolvers<void>() };
    changes.set(name, found);
    return found;
  };
  const done = new Map<string, BlobInfo>();
  const progressOf = progressByPart(flow);
  const send = async (name: string, stop: AbortSignal) => {
    const { ranges, known } = changesOf(name);
    await using files = new AsyncDisposableStack();
    const file = files.adopt(await GrowingFile.open(join(images, name), whole), (opened) => opened.close());
    const changed = files.use(await RangesOfFile.open(join(images, name), ranges, known.promise));
    // It has to be durable by the hold.
    const parts = [file.sync(stop), earlier.has(name) ? ahead.file(name, whole, stop) : undefined];
    for (const part of parts) part?.catch(() => undefined);
    done.set(name, await client.uploadAppended(repository, changed, { signal: stop, pace: flow.pace, onProgress: progressOf(name) }));
    await Promise.all(parts);
    // Not waited for: what comes next is glad of the memory.
    if (!readAgain && (await stat(join(images, name))).size >= leastToLetGo) void new LetGo(join(images, name)).all();
  };
  const compare = async (stop: AbortSignal) => {
    await whole;
    await ahead.end();
    const isWhole = assertWhole(images, async (name) => (await stat(join(images, name))).size);
    isWhole.catch(() => undefined);
    await mkdir(maps, { recursive: true, mode: 0o700 });
    const without = new Set((await readdir(images)).filter(isPages));
    for (const name of await mapsOfBoth(path, parent)) {
      const { pages, pagemap } = await deltaOf(name, checkpoints, { comparer, ahead, changed: (file) => changesOf(file).ranges }, stop);
      await writeFile(join(maps, name), await pagemap, { mode: 0o600 });
      await isWhole;
      changesOf(pages).known.resolve();
      without.delete(pages);
    }
    await isWhole;
    for (const name of without) {
      const { ranges, known } = changesOf(name);
      ranges.add(0, (await stat(join(images, name))).size);
      known.resolve();
    }
  };
  await together(signal, (stop) => [eachFileOfMemory(images, whole, stop, send), compare(stop)]);
  return done;
}

/** The page maps of processes that are in both of two dumps. */
async function mapsOfBoth(path: string, parent: string): Promise<string[]> {
  const [names, earlier] = await Promise.all([path, parent].map((dump) => readdir(join(dump, imagesDirectory))));
  return (names ?? []).filter((name) => isProcessMap(name) && earlier?.includes(name));
}

/** What CRIU wrote of memory. Bytes. */
export async function memoryOf(path: string): Promise<number> {
  return [...(await pagesBytes(join(path, imagesDirectory))).values()].reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * A checkpoint as an archive in which the memory is named by where it lies on the destination; the links are made there
 * before CRIU reads them (`criu-hook.ts`). With earlier rounds it is an incremental one: what did not change is in its
 * parent, which CRIU finds in `parent/`, and so on.
 *
 * @param pages need not be known before the rest has been read
 * @param contentDirectory where the destination keeps blobs, by the hexadecimal digits of their digests
 */
export async function packWithoutPages(
  directory: string,
  pages: Promise<Pages>,
  contentDirectory: string,
  layers: WarmLayer[] = [],
): Promise<Readable> {
  // It may fail before it is waited for.
  pages.catch(() => undefined);
  const parent = layers.at(-1);
  const compared = new Set(parent && (await mapsOfBoth(directory, parent.path)));
  const without = (name: string) => {
    const image = name.startsWith(`${imagesDirectory}/`) ? name.slice(imagesDirectory.length + 1) : '';
    return isPages(image) || compared.has(image) || name === mapsDirectory || name.startsWith(`${mapsDirectory}/`);
  };
  return packCheckpoint(directory, { without, added: addedFiles(directory, pages, contentDirectory, layers) });
}

async function* addedFiles(
  directory: string,
  pages: Promise<Pages>,
  contentDirectory: string,
  layers: WarmLayer[],
): AsyncGenerator<[string, Buffer | string]> {
  const blob = (digest: string) => join(contentDirectory, digest.replace('sha256:', ''));
  const links = [...(await pages)].map(([name, { digest }]) => `${name} ${blob(digest)}`);
  if (layers.length > 0) for (const [name, map] of await mapsIn(directory)) yield [`${imagesDirectory}/${name}`, map];
  for (const [index, layer] of layers.toReversed().entries()) {
    const parent = Array.from({ length: index + 1 }, () => 'parent').join('/');
    links.push(...Object.entries(layer.pages).map(([name, { digest }]) => `${parent}/${name} ${blob(digest)}`));
    for (const [name, map] of await mapsIn(layer.path)) {
      const kept = `podferry.parent-${index + 1}.${name}`;
      yield [`${imagesDirectory}/${kept}`, map];
      links.push(`${parent}/${name} ${kept}`);
    }
  }
  yield [`${imagesDirectory}/${linksFile}`, links.map((line) => `${line}\n`).join('')];
}

async function mapsIn(path: string): Promise<[string, Buffer][]> {
  const maps = join(path, mapsDirectory);
  const names = await readdir(maps);
  return Promise.all(names.map(async (name): Promise<[string, Buffer]> => [name, await readFile(join(maps, name))]));
}
