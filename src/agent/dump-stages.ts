import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** How far CRIU is with a dump, by the names of the images that are there. */

/** How often it is looked whether it has begun, and, with more files by then, whether all memory is written. Milliseconds. */
const begunInterval = 5;
const writtenInterval = 10;

/**
 * Resolves when CRIU has begun to write images into a directory, or is not going to. Until then (25 to 35 ms) a pod stands still for
 * programs that are being started, and whatever goes on beside them makes that longer.
 *
 * @param dump settles when the dump has ended
 */
export async function dumpBegun(images: string, dump: Promise<unknown>): Promise<void> {
  const ended = dump.catch(() => undefined);
  await reached(images, ended, { stage: (names) => names.length > 0, interval: begunInterval });
}

/**
 * Resolves when CRIU has written the memory of all processes: it does so before it looks at their mounts (criu/cr-dump.c, `cr_dump_tasks`),
 * which takes as long as 64 MiB of memory. What they share as a file of memory comes later.
 *
 * @param whole resolves when the checkpoint is complete; then at the latest
 * @throws what `whole` rejects with, the signal's reason
 */
export async function memoryWritten(images: string, whole: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const stage = (names: string[]) => names.some((name) => /^mountpoints-[0-9]+\.img$/.test(name));
  await reached(images, whole, { stage, interval: writtenInterval, signal });
}

async function reached(
  images: string,
  dump: Promise<unknown>,
  { stage, interval, signal }: { stage: (names: string[]) => boolean; interval: number; signal?: AbortSignal },
): Promise<void> {
  let complete = false;
  const end = dump.then(() => {
    complete = true;
  });
  end.catch(() => undefined);
  while (!complete) {
    signal?.throwIfAborted();
    if (stage(await readdir(images))) return;
    await Promise.race([sleep(interval, undefined, signal && { signal }), end]);
  }
}
