import { Turns } from '../util/turns.ts';
import type { AppendedReader, Pace } from './appended.ts';
import { type Compression, chooseEncoding, compressionFor, type Encoding, type Sample } from './encoding-choice.ts';
import type { LinkRate } from './link-rate.ts';
import { PageBuffer } from './page-buffer.ts';
import { compress } from './page-coding.ts';
import { frameHead, maxFramedBytes, pagesType } from './page-frames.ts';

/** What is sent at most before the other end has to answer: to measure the link, and else. Bytes of content. */
const probeBytes = 8 * 1024 * 1024;
const segmentBytes = maxFramedBytes;

/** What is compressed to see whether it is worth while, and at least; and what share of the time that may take. Bytes. */
const sampleBytes = 256 * 1024;
const leastSample = 16 * 1024;
const sampleShare = 0.01;

/** Of segments with less content no sample is taken: with many small files it would be much of the work. Bytes. */
const leastSampled = 1024 * 1024;

/** A piece smaller than this may wait in the socket while the next is asked for, so it has to have its own memory. More than any socket's mark. Bytes. */
const copyBelow = 128 * 1024;

export interface PageSenderOptions {
  /** What the other end decodes; undefined: it does not know frames. */
  accepts: readonly Compression[] | undefined;
  link: LinkRate;
  pace: Pace | undefined;
  /** Told of every position that all has been sent up to. */
  passed: ((position: number) => void) | undefined;
  signal: AbortSignal;
}

/** A request's worth of content. */
export interface Segment {
  /** Bytes of content. */
  length: number;
  headers: Record<string, string>;
  body: AsyncIterable<Buffer>;
  /** To be called when the other end has taken all of it. */
  arrived(): void;
}

/** What a buffer was filled with. */
interface Portion {
  buffer: PageBuffer;
  /** All before it has been read. */
  position: number;
  pieces: Buffer[] | Promise<Buffer[]>;
}

/**
 * Makes request bodies of an appended source, one after the other: frames without zeros, compressed where that is faster, or
 * the content as it is, where the other end knows no frames. (Frames go in HTTP chunks, for their length is not known before; that
 * costs up to 5 % where there are no zeros, measured.)
 */
export class PageSender {
  readonly #reader: AppendedReader;
  readonly #options: PageSenderOptions;
  /** One is sent, one compressed and one filled. */
  readonly #buffers = [new PageBuffer(), new PageBuffer(), new PageBuffer()] as const;
  /** The reader is at one place. */
  readonly #turns = new Turns();
  #sample: Sample | undefined;
  /** When the next sample is to be taken; milliseconds. */
  #sampleAt = 0;
  /** Whether any of the segment went compressed. */
  #compressed = false;
  #sampling = false;
  /** Bytes that have been sent, with what had to be sent again. */
  wire = 0;

  constructor(reader: AppendedReader, options: PageSenderOptions) {
    this.#reader = reader;
    this.#options = options;
  }

  /** What of the next bytes goes next. */
  segment(available: number): Segment {
    const { accepts, link, pace } = this.#options;
    const probing = accepts !== undefined && (link.due(pace?.rate) || (link.rate === undefined && pace?.rate === undefined));
    const framed = accepts !== undefined;
    const length = Math.min(available, probing ? probeBytes : segmentBytes);
    const { position } = this.#reader;
    const [began, before] = [performance.now(), this.wire];
    return {
      length,
      headers: {
        'content-type': framed ? pagesType : 'application/octet-stream',
        'content-range': `${position}-${position + length - 1}`,
        ...(!framed && { 'content-length': String(length) }),
      },
      body: this.#body(position + length, { framed, probing }),
      arrived: () => {
        const seconds = (performance.now() - began) / 1000;
        link.sent({ wire: this.wire - before, content: length, seconds, compressed: this.#compressed });
      },
    };
  }

  /**
   * Goes back to where a segment began, and on to where the other end is: the segment may have been given up in the middle,
   * and what is still being read for it comes first.
   */
  resume(before: { position: number; crc32: number }, to: number): Promise<void> {
    return this.#turns.take(async () => {
      this.#reader.rewind(before);
      await this.#reader.skip(to, this.#buffers[0].scratch);
    });
  }

  /** While a piece is sent the next are read (and compressed): the one waits for the network, the others for the disk and the thread pool. */
  async *#body(end: number, way: { framed: boolean; probing: boolean }): AsyncGenerator<Buffer> {
    this.#compressed = false;
    this.#sampling = end - this.#reader.position >= leastSampled;
    const ahead: Promise<Portion | undefined>[] = [];
    const begin = (buffer: PageBuffer) => {
      const portion = this.#prepare(buffer, end, way);
      // It is waited for later, or not at all when the connection breaks.
      portion.catch(() => undefined);
      ahead.push(portion);
    };
    this.#buffers.forEach(begin);
    for (let portion = await ahead.shift(); portion; portion = await ahead.shift()) {
      yield* this.#paced(await portion.pieces);
      this.#options.passed?.(portion.position);
      begin(portion.buffer);
    }
  }

  /** Resolves when the buffer has been filled; undefined: there is no more. */
  #prepare(buffer: PageBuffer, end: number, { framed, probing }: { framed: boolean; probing: boolean }): Promise<Portion | undefined> {
    return this.#turns.take(async () => {
      if (this.#reader.position >= end) return undefined;
      await (framed ? buffer.fillPages(this.#reader, end) : buffer.fill(this.#reader, end));
      const { position } = this.#reader;
      if (!framed) return { buffer, position, pieces: [buffer.literal] };
      await this.#takeSample(buffer);
      const encoding = probing ? 'none' : this.#choice();
      if (encoding === 'none') return { buffer, position, pieces: [buffer.frame()] };
      const pieces = this.#compress(encoding, buffer);
      pieces.catch(() => undefined);
      return { buffer, position, pieces };
    });
  }

  async #compress(encoding: Compression, buffer: PageBuffer): Promise<Buffer[]> {
    const { literal, runs } = buffer;
    if (literal.length < leastSample) return [buffer.frame()];
    const compressed = await this.#measured(encoding, literal);
    if (compressed.length >= literal.length) return [buffer.frame()];
    this.#compressed = true;
    return [frameHead(encoding, runs, compressed.length), compressed];
  }

  async #takeSample({ literal }: PageBuffer): Promise<void> {
    const compression = compressionFor(this.#options.accepts ?? []);
    const began = performance.now();
    if (!compression || !this.#sampling || literal.length < leastSample || began < this.#sampleAt) return;
    await this.#measured(compression, literal.subarray(0, sampleBytes));
    const ended = performance.now();
    this.#sampleAt = ended + (ended - began) / sampleShare;
  }

  async #measured(compression: Compression, content: Buffer): Promise<Buffer> {
    const began = performance.now();
    const compressed = await compress(compression, content);
    const ratio = content.length / compressed.length;
    const speed = (content.length / Math.max(performance.now() - began, 0.001)) * 1000;
    const { ratio: ratioBefore, speed: speedBefore } = this.#sample ?? { ratio, speed };
    this.#sample = { ratio: (ratioBefore + ratio) / 2, speed: (speedBefore + speed) / 2 };
    return compressed;
  }

  #choice(): Encoding {
    const { accepts = [], link, pace } = this.#options;
    return chooseEncoding({ accepts, sample: this.#sample, link: link.rate, limit: pace?.rate });
  }

  async *#paced(pieces: Buffer[]): AsyncGenerator<Buffer> {
    const { pace, signal } = this.#options;
    for (const piece of pieces)
      for (let at = 0; at < piece.length; ) {
        const portion = pace?.portion(piece.length - at) ?? piece.length - at;
        await pace?.take(portion, signal);
        signal.throwIfAborted();
        const part = piece.subarray(at, at + portion);
        at += portion;
        this.wire += portion;
        yield portion < copyBelow ? Buffer.from(part) : part;
      }
  }
}
