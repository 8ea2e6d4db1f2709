import type { FileHandle } from 'node:fs/promises';

/** Bytes that are written before the disk is told to begin. */
const flushBytes = 64 * 1024 * 1024;

/** Lets the disk begin with a file while the rest of it is still on its way: else all of it is waited for at the end. */
export class Flusher {
  readonly #file: FileHandle;
  #unflushed = 0;
  #flushing: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** So many bytes more were written. */
  wrote(bytes: number): void {
    this.#unflushed += bytes;
    if (this.#flushing || this.#unflushed < flushBytes) return;
    this.#unflushed = 0;
    this.#flushing = this.#file.datasync().then(
      () => {
        this.#flushing = undefined;
      },
      (error: unknown) => {
        // The kernel reports a failure of the disk once.
        this.#failure ??= { error };
        this.#flushing = undefined;
      },
    );
  }

  /** Resolves when none is under way; the file may be closed then. */
  async idle(): Promise<void> {
    await this.#flushing;
  }

  /** Resolves when all of it is on the disk. @throws what the disk failed with, then or before */
  async end(): Promise<void> {
    await this.#flushing;
    if (this.#failure) throw this.#failure.error;
    await this.#file.sync();
  }
}
