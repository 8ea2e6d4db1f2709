import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { bulkBuffer } from '../util/bulk-buffer.ts';

/** With less memory than this nobody notices. Bytes. */
const leastBytes = 128 * 1024 * 1024;

/** Read at a time. Bytes. */
const pieceBytes = 4 * 1024 * 1024;

/** Of what is free this much may be held: the rest is for those who need some meanwhile. */
const shareOfFree = 0.75;

/**
 * Memory that the kernel has at hand for whoever needs much of it in a moment: CRIU, for what it writes of a pod that stands still.
 * A virtual machine that gives free memory back to its host has to fetch each page of it again when somebody writes to it: 4 to
 * 5 s a GiB, where memory that was freed a moment ago takes 0.3 (ADR 12). So it is taken while the pod runs: as page cache of an
 * empty file, which costs nobody anything, since the kernel takes it back whenever it needs it, and nothing is written to a disk.
 */
export class MemoryAtHand implements AsyncDisposable {
  #file: FileHandle | undefined;

  private constructor(file: FileHandle | undefined) {
    this.#file = file;
  }

  /**
   * Takes as much as there is, and time for. Where it cannot be done nothing is lost.
   *
   * @param directory on the disk where it will be needed
   * @param bytes that are wanted
   * @param milliseconds that it may take
   * @throws the signal's reason
   */
  static async take(directory: string, bytes: number, milliseconds: number, signal: AbortSignal): Promise<MemoryAtHand> {
    const wanted = Math.min(bytes, (await freeMemory()) * shareOfFree);
    if (wanted < leastBytes) return new MemoryAtHand(undefined);
    const deadline = performance.now() + milliseconds;
    const held = new MemoryAtHand(await emptyFile(directory).catch(() => undefined));
    const file = held.#file;
    try {
      await file?.truncate(wanted);
      const piece = bulkBuffer(pieceBytes);
      for (let at = 0; file && at < wanted && performance.now() < deadline; at += pieceBytes) {
        signal.throwIfAborted();
        await file.read(piece, 0, pieceBytes, at);
      }
    } catch {
      await held[Symbol.asyncDispose]();
      signal.throwIfAborted();
    }
    return held;
  }

  /** Lets it go: from here on it is free for about two seconds before the machine gives it back. */
  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }
}

/** Of nobody: it is gone when it is closed, or this process ends. */
async function emptyFile(directory: string): Promise<FileHandle> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `.at-hand-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

/** That nobody uses at all, not even as cache. Bytes. */
async function freeMemory(): Promise<number> {
  const [, kibibytes = '0'] = /^MemFree:\s*(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'utf8')) ?? [];
  return Number(kibibytes) * 1024;
}
