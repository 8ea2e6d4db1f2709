import { bulkBuffer } from '../util/bulk-buffer.ts';
import type { AppendedReader } from './appended.ts';
import { frameBytes, frameHead, frameRuns } from './page-frames.ts';
import { pageBytes, type Run, squeezeZeroPages } from './zero-pages.ts';

/** Room for a frame's head, so much that the content is aligned. Bytes. */
const headRoom = 4096;

/** Less room than this is not filled: many small reads cost more than a frame that is not quite full. Bytes. */
const leastRoom = 64 * 1024;

/** Runs that a read may bring at most: each but those at its ends has two pages. */
const runsOfRead = frameBytes / pageBytes / 2 + 2;

/**
 * The content of one frame, with room for its head before it, so that both leave as one piece. It is used again and again: a
 * new buffer for every frame costs about as much as sending it (zeroed pages from the kernel, and collecting them).
 */
export class PageBuffer {
  readonly #memory = bulkBuffer(headRoom + frameBytes);
  #length = 0;
  runs: Run[] = [];

  /** What is to be sent, without zeros. */
  get literal(): Buffer {
    return this.#memory.subarray(headRoom, headRoom + this.#length);
  }

  /** Memory for other use while nothing is in it. */
  get scratch(): Buffer {
    return this.#memory.subarray(headRoom);
  }

  /** Fills it anew, up to a position, without pages of zeros: with many of them it stands for much more than it holds. */
  async fillPages(reader: AppendedReader, end: number): Promise<void> {
    this.#length = 0;
    this.runs = [];
    while (reader.position < end && frameBytes - this.#length >= leastRoom && this.runs.length + runsOfRead <= frameRuns) {
      const { position } = reader;
      const part = this.scratch.subarray(this.#length, this.#length + end - position);
      const read = await reader.read(part);
      this.#length += squeezeZeroPages(part.subarray(0, read), position, this.runs);
    }
  }

  /** Fills it anew, up to a position, as the content is. */
  async fill(reader: AppendedReader, end: number): Promise<void> {
    this.#length = await reader.read(this.scratch.subarray(0, end - reader.position));
    this.runs = [{ literal: this.#length, zeros: 0 }];
  }

  /** As a frame, not compressed. */
  frame(): Buffer {
    const head = frameHead('none', this.runs, this.#length);
    const start = headRoom - head.length;
    head.copy(this.#memory, start);
    return this.#memory.subarray(start, headRoom + this.#length);
  }
}
