import { messageOf } from '../util/errors.ts';
import type { Span } from './blob.ts';
import type { Encoding } from './encoding-choice.ts';
import { ImageError } from './errors.ts';
import { decompress } from './page-coding.ts';
import type { Run } from './zero-pages.ts';

/**
 * The content type of frames of pages, which podferry's registries send each other so that zeros do not travel. A body is
 * frames, one after the other, without anything between. Numbers are unsigned, least byte first.
 *
 *     encoding  1 byte   of the payload: 0 none, 1 zstd (RFC 8878), 2 gzip (RFC 1952)
 *     -         1 byte   0
 *     runs      2 bytes  how many follow
 *     literal   4 bytes  size of the payload when it is decoded, the sum of the runs' literals
 *     payload   4 bytes  its size as it is here
 *     run       8 bytes  each: so many bytes of the payload (4 bytes), then so many zeros (4 bytes)
 *     payload
 *
 * Each frame stands for itself: a connection that breaks loses no more than one.
 */
export const pagesType = 'application/vnd.podferry.pages';

/** The most that a frame's payload decodes to, in bytes, and how many runs it may have: its head is less than 4096 bytes. */
export const frameBytes = 512 * 1024;
export const frameRuns = 256;

/** Content of a body. Bytes. */
export const maxFramedBytes = 64 * 1024 * 1024;

const fixedBytes = 12;
const runBytes = 8;
const encodings: readonly Encoding[] = ['none', 'zstd', 'gzip'];

/** What comes before a payload. */
export function frameHead(encoding: Encoding, runs: readonly Run[], payload: number): Buffer {
  const head = Buffer.allocUnsafe(fixedBytes + runs.length * runBytes);
  head.writeUInt8(encodings.indexOf(encoding), 0);
  head.writeUInt8(0, 1);
  head.writeUInt16LE(runs.length, 2);
  head.writeUInt32LE(
    runs.reduce((sum, { literal }) => sum + literal, 0),
    4,
  );
  head.writeUInt32LE(payload, 8);
  for (const [index, { literal, zeros }] of runs.entries()) {
    head.writeUInt32LE(literal, fixedBytes + index * runBytes);
    head.writeUInt32LE(zeros, fixedBytes + index * runBytes + 4);
  }
  return head;
}

/**
 * The content of a body of frames. What is not compressed is handed on as it comes, without copying; of the rest no more
 * than a frame is in memory.
 *
 * @param length of the content, in bytes
 * @throws ImageError `protocol` when these are no such frames; what came before may have been handed on then
 */
export async function* contentOfFrames(batches: AsyncIterable<Buffer[]>, length: number): AsyncGenerator<Span[]> {
  const received = new Received();
  let frame: Frame | undefined;
  let left = length;
  for await (const batch of batches) {
    received.push(batch);
    let spans: Span[] = [];
    for (;;) {
      frame ??= parseHead(received, left);
      if (!frame) break;
      if (frame.encoding === 'none') {
        left -= split(frame.runs, received, spans);
        if (frame.runs.length > 0) break;
      } else {
        const payload = received.take(frame.payload);
        if (!payload) break;
        const decoded = new Received();
        decoded.push([await decoding(frame, payload)]);
        left -= split(frame.runs, decoded, spans);
        // All that the batch holds could be many times its size.
        yield spans;
        spans = [];
      }
      frame = undefined;
    }
    if (spans.length > 0) yield spans;
  }
  if (frame || received.length > 0) throw malformed('they end within one');
  if (left > 0) throw malformed(`they have ${length - left} bytes of content, ${length} were announced`);
}

interface Frame {
  encoding: Encoding;
  /** What of it is still to come. */
  runs: Run[];
  literal: number;
  payload: number;
}

/** Undefined: it is not all there yet. */
function parseHead(received: Received, left: number): Frame | undefined {
  const fixed = received.peek(fixedBytes);
  if (!fixed) return undefined;
  const encoding = encodings[fixed.readUInt8(0)];
  const count = fixed.readUInt16LE(2);
  const literal = fixed.readUInt32LE(4);
  const payload = fixed.readUInt32LE(8);
  if (encoding === undefined || fixed.readUInt8(1) !== 0) throw malformed('one has an encoding that is not known here');
  if (count === 0 || count > frameRuns || literal > frameBytes || payload > frameBytes) throw malformed('one is larger than may be');
  const head = received.take(fixedBytes + count * runBytes);
  if (!head) return undefined;
  const runs: Run[] = [];
  for (let at = fixedBytes; at < head.length; at += runBytes)
    runs.push({ literal: head.readUInt32LE(at), zeros: head.readUInt32LE(at + 4) });
  const literals = runs.reduce((sum, run) => sum + run.literal, 0);
  const content = runs.reduce((sum, run) => sum + run.zeros, literals);
  if (literals !== literal || (encoding === 'none' && payload !== literal)) throw malformed('the sizes in one do not agree');
  if (content > left) throw malformed(`one has ${content} bytes of content, where ${left} were still to come`);
  return { encoding, runs, literal, payload };
}

async function decoding({ encoding, literal }: Frame, payload: Buffer): Promise<Buffer> {
  try {
    return encoding === 'none' ? payload : await decompress(encoding, payload, literal);
  } catch (error) {
    throw malformed(`one cannot be decoded as ${encoding}: ${messageOf(error)}`, error);
  }
}

/** Takes from the runs what is there; returns how many bytes of content that was. */
function split(runs: Run[], payload: Received, spans: Span[]): number {
  let content = 0;
  for (let run = runs[0]; run; run = runs[0]) {
    while (run.literal > 0) {
      const part = payload.some(run.literal);
      if (!part) return content;
      spans.push(part);
      run.literal -= part.length;
      content += part.length;
    }
    if (run.zeros > 0) spans.push(run.zeros);
    content += run.zeros;
    runs.shift();
  }
  return content;
}

const malformed = (text: string, cause?: unknown) => new ImageError('protocol', `frames of pages: ${text}`, { cause });

/** Bytes in the pieces they came in. */
class Received {
  #pieces: Buffer[] = [];
  #next = 0;
  length = 0;

  push(pieces: Buffer[]): void {
    this.#pieces = [...this.#pieces.slice(this.#next), ...pieces];
    this.#next = 0;
    for (const piece of pieces) this.length += piece.length;
  }

  /** So many bytes, left where they are; undefined when there are fewer. */
  peek(bytes: number): Buffer | undefined {
    if (this.length < bytes) return undefined;
    const parts: Buffer[] = [];
    for (let found = 0, index = this.#next; found < bytes; index++) {
      const part = (this.#pieces[index] as Buffer).subarray(0, bytes - found);
      parts.push(part);
      found += part.length;
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  }

  /** So many bytes; undefined when there are fewer. */
  take(bytes: number): Buffer | undefined {
    const found = this.peek(bytes);
    for (let left = found?.length ?? 0; left > 0; ) left -= this.some(left)?.length ?? left;
    return found;
  }

  /** Some bytes, up to so many, as they came; undefined when there are none. */
  some(most: number): Buffer | undefined {
    const piece = this.#pieces[this.#next];
    if (!piece) return undefined;
    const found = piece.subarray(0, most);
    if (found.length === piece.length) this.#next++;
    else this.#pieces[this.#next] = piece.subarray(found.length);
    this.length -= found.length;
    return found;
  }
}
