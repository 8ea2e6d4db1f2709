import { closeSync, fsync, openSync, readdirSync, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

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

/** Flushes a file, or the names in a directory. What the kernel answers from memory is not waited for. */
export async function sync(path: string): Promise<void> {
  const file = openSync(path, 'r');
  try {
    await promisify(fsync)(file);
  } finally {
    closeSync(file);
  }
}

/**
 * A file, or a directory and all that is in it. A checkpoint has some forty, just written: asking for them one by one through the
 * thread pool took 5 ms of the main thread while a pod stood still.
 *
 * @returns paths, and bytes of all files
 */
export function allIn(path: string): { paths: string[]; bytes: number } {
  const found = statSync(path);
  if (!found.isDirectory()) return { paths: [path], bytes: found.size };
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  const paths = entries.map(({ parentPath, name }) => join(parentPath, name));
  const sizes = entries.map((entry, index) => (entry.isFile() ? statSync(paths[index] ?? '').size : 0));
  return { paths: [path, ...paths], bytes: sizes.reduce((sum, size) => sum + size, 0) };
}
