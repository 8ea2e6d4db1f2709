import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/**
 * Let go of at a time, or more. Until the first of it is free, who writes has to do with new memory; and each time a program is
 * started, on the cores that CRIU writes on: what follows is as much as what is free by then, up to `mostPiece`. Bytes.
 */
const firstPiece = 16 * 1024 * 1024;
const mostPiece = 256 * 1024 * 1024;

/** With less memory than this, to let go of it takes more time than it saves. Bytes. */
export const leastToLetGo = 128 * 1024 * 1024;

/** Of a disk that hangs nothing is let go of. Milliseconds. */
const deadline = 10_000;

/** Node.js has no call for `posix_fadvise`. */
async function dd(...operands: string[]): Promise<void> {
  await promisify(execFile)('dd', [...operands, 'status=none'], { timeout: deadline }).catch(() => undefined);
}

/**
 * Takes what has been read for the last time of a large file out of the kernel's page cache, from its beginning on. What is
 * written next finds memory there that is in use already: memory that has to be fetched from elsewhere first (reclaimed from
 * others, or by a virtual machine from its host) holds up who writes, and a frozen pod with it. Measured in a machine that
 * gives free memory back to its host: CRIU writes 1 GiB in 4.5 s into such memory, in 1.1 s into memory that was let go just before.
 *
 * It changes nothing but what is in memory, and where it cannot be done nothing is lost.
 */
export class LetGo implements AsyncDisposable {
  readonly #path: string;
  #wanted = 0;
  #done = 0;
  #running: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** @param position what is before it is not read any more, and on the disk (what is not stays). Bytes */
  upTo(position: number): void {
    this.#wanted = Math.max(this.#wanted, position);
    this.#running ??= this.#work().finally(() => {
      this.#running = undefined;
    });
  }

  /** Nothing of the file is read any more. */
  async all(): Promise<void> {
    await dd(`if=${this.#path}`, 'iflag=nocache', 'count=0');
  }

  /** Resolves when nothing of it is under way any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running;
  }

  async #work(): Promise<void> {
    while (this.#wanted - this.#done >= Math.min(mostPiece, Math.max(firstPiece, this.#done))) {
      const bytes = this.#wanted - this.#done;
      const range = [`skip=${this.#done}`, `count=${bytes}`, 'iflag=nocache,skip_bytes,count_bytes'];
      this.#done = this.#wanted;
      // It is read once more (10 ms for 64 MiB), and each block let go of: of less than 2 MiB, a large folio, the kernel keeps
      // what it has in one.
      await dd(`if=${this.#path}`, ...range, 'of=/dev/null', 'bs=4M');
    }
  }
}
