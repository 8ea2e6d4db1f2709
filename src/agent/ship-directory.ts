import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GrowingFile, imagesDirectory, isPages, type Pages } from '../archive/directory.ts';
import { ArchiveError } from '../archive/errors.ts';
import { pagesBytes } from '../archive/pagemap.ts';
import type { BlobInfo } from '../image/blob.ts';
import type { ImageSender } from '../image/chunked-upload.ts';
import { together } from '../util/together.ts';
import { sync } from './disk.ts';
import type { Flow } from './source-record.ts';

/** Files of memory dealt with at the same time. */
const atOnce = 4;

/** How often new files of memory are looked for while CRIU writes. Milliseconds. */
const lookInterval = 20;

/** Where a checkpoint's memory goes, ahead of the image. */
export interface PagesRoute {
  client: ImageSender;
  repository: string;
  flow: Flow;
  signal: AbortSignal;
  /** Of a pod that runs on: it is read once more, as what the next dump is compared with, and patched on the destination. */
  readAgain: boolean;
}

/** Of what goes in parts at the same time, the flow is told the sum. */
export function progressByPart({ progress }: Pick<Flow, 'progress'>): (part: string) => (bytes: number) => void {
  const sent = new Map<string, number>();
  return (part) => (bytes) => {
    sent.set(part, bytes);
    progress([...sent.values()].reduce((sum, each) => sum + each, 0));
  };
}

/**
 * Sends the memory of a checkpoint as blobs of its own, each while CRIU still writes it.
 *
 * @param whole resolves when the checkpoint is complete
 */
export async function shipPages(directory: string, whole: Promise<void>, route: PagesRoute): Promise<Pages> {
  const { client, repository, flow, signal, readAgain } = route;
  const images = join(directory, imagesDirectory);
  const done = new Map<string, BlobInfo>();
  const progressOf = progressByPart(flow);
  await eachFileOfMemory(images, whole, signal, async (name, stop) => {
    await using files = new AsyncDisposableStack();
    const file = files.adopt(await GrowingFile.open(join(images, name), whole), (opened) => opened.close());
    const onProgress = progressOf(name);
    const [info] = await together(stop, (end) => [
      client.uploadAppended(repository, file, { signal: end, pace: flow.pace, onProgress, patchable: readAgain }),
      ...(readAgain ? [flushedOnce(whole, join(images, name))] : []),
    ]);
    done.set(name, info);
  });
  await assertWhole(images, async (name) => done.get(name)?.size ?? 0);
  return done;
}

/**
 * Flushes a file of a round when it is whole, so that the pod, which stands still until then, does not wait for that. What is not on the disk
 * cannot be let go of when the next is compared with it, and counts for what the kernel lets CRIU leave unwritten.
 */
export async function flushedOnce(whole: Promise<void>, path: string): Promise<void> {
  await whole;
  await sync(path);
}

/**
 * Does something with every file of memory, beginning while CRIU writes it; the first failure ends the others.
 *
 * @param whole resolves when the checkpoint is complete
 * @param work ends when the file has been dealt with to its end, or the signal fires
 */
export async function eachFileOfMemory(
  images: string,
  whole: Promise<void>,
  signal: AbortSignal,
  work: (name: string, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  const done = new Set<string>();
  const active = new Map<string, Promise<void>>();
  let failure: { error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
    failed.abort(error);
  };
  let complete = false;
  const end = whole.then(() => {
    complete = true;
  });
  end.catch(() => undefined);
  const begin = (name: string) =>
    work(name, stop)
      .then(() => void done.add(name), fail)
      .finally(() => active.delete(name));
  try {
    for (;;) {
      stop.throwIfAborted();
      const last = complete;
      const names = (await readdir(images)).filter(isPages).sort();
      const waiting = names.filter((name) => !done.has(name) && !active.has(name));
      for (const name of waiting.slice(0, atOnce - active.size)) active.set(name, begin(name));
      if (last && waiting.length === 0 && active.size === 0) break;
      await Promise.race([sleep(lookInterval, undefined, { signal: stop }), ...(complete ? active.values() : [end])]);
    }
  } catch (error) {
    fail(error);
  }
  await Promise.all(active.values());
  if (failure) throw failure.error;
}

/**
 * By what CRIU says that it wrote: a file that is cut short ends as any other does.
 *
 * @param sizeOf bytes of a file of memory; 0: it is not there
 * @throws ArchiveError `truncated`
 */
export async function assertWhole(images: string, sizeOf: (name: string) => Promise<number>): Promise<void> {
  for (const [name, bytes] of await pagesBytes(images)) {
    const size = await sizeOf(name);
    if (size < bytes) throw new ArchiveError('truncated', `${name} of the checkpoint has ${size} bytes, CRIU wrote ${bytes}`);
  }
}
