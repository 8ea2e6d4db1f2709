import { statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * What is free for anybody on the file system of a directory, bytes; of one that is not there yet, on its parent's. Undefined
 * where the file system does not say. One call that the kernel answers from memory, so it is not waited for.
 */
export function freeBytes(directory: string): number | undefined {
  try {
    const { blocks, bavail, bsize } = statfsSync(directory);
    // Some that count nothing answer zeros.
    return blocks === 0 ? undefined : bavail * bsize;
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT' && dirname(directory) !== directory;
    return isMissing ? freeBytes(dirname(directory)) : undefined;
  }
}

/** Flushes a file, or the names in a directory. */
export async function sync(path: string): Promise<void> {
  await using file = await open(path, 'r');
  await file.sync();
}
