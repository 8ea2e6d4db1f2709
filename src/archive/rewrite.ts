import { type Readable, Transform, type TransformCallback, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { isAbort, messageOf } from '../util/errors.ts';
import { Gather } from '../util/gather.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { type ArchiveSummary, CheckpointInspector } from './checkpoint.ts';
import type { Pages } from './directory.ts';
import { ArchiveError } from './errors.ts';
import { decodePax, encodePax, paddingOf, setHeaderSize } from './tar.ts';
import { type TarEntry, TarParser, type TarPart } from './tar-parser.ts';

export interface RewriteOptions {
  /** New base image (`rootfsImageRef` of config.dump): what containerd pulls on restore. Without it nothing is changed. */
  rootfsImageRef?: string;
  /** Kubernetes' name of the container that the archive must be of; another fails with `wrong-container`. */
  containerName?: string;
  /** Whether files that a restore needs must be there (default true); otherwise they are only listed in `missing`. */
  requireComplete?: boolean;
  /** The archive's `checksum` of an earlier pass; another fails with `changed`. */
  checksum?: number;
  /** Memory that is shipped beside the archive, known by its end; its digests are part of the checksum. */
  pagesBeside?: Promise<Pages>;
  signal?: AbortSignal;
}

/**
 * Passes a checkpoint archive through in one pass, byte for byte, but for `rootfsImageRef` in `config.dump` (which field,
 * and why: see `CheckpointConfig`). Memory is bounded, backpressure goes through to the input.
 *
 * An archive that is truncated, damaged, no checkpoint or (unless `requireComplete` is false) not restorable makes both
 * `output` and `summary` fail with an `ArchiveError`, before `output` signals its end. Content that flipped inside a
 * file goes unseen in the first pass: tar has checksums for headers only. `checksum` covers later passes, the transfer's digest the way.
 * If `output` is destroyed early, `summary` fails with `aborted` and the input is destroyed.
 */
export function rewriteArchive(input: Readable, options: RewriteOptions = {}): { output: Readable; summary: Promise<ArchiveSummary> } {
  const output = new Rewriter(options);
  const summary = output.result(pipeline(input, output, { ...(options.signal && { signal: options.signal }) }));
  // Who reads the output learns of a failure there; not looking at the summary as well must not end the process.
  summary.catch(() => undefined);
  return { output, summary };
}

/**
 * The same pass without output: what is in an archive, and what it lacks (`missing`; nothing that is merely missing fails).
 * @throws ArchiveError `truncated`, `malformed`, `no-config`, `bad-config`, `not-criu`, `io`, `aborted`
 */
export async function describeArchive(input: Readable, signal?: AbortSignal): Promise<ArchiveSummary> {
  const pass = new Rewriter({ requireComplete: false });
  const ignore = new Writable({ highWaterMark: bulkHighWaterMark, write: (_chunk, _encoding, done) => done() });
  return pass.result(pipeline(input, pass, ignore, { ...(signal && { signal }) }));
}

/** Whatever broke a pass, as an ArchiveError. */
function asArchiveError(error: unknown): ArchiveError {
  if (error instanceof ArchiveError) return error;
  if (isAbort(error))
    return new ArchiveError('aborted', `reading the archive was stopped before its end: ${messageOf(error)}`, { cause: error });
  return new ArchiveError('io', `reading the archive failed: ${messageOf(error)}`, { cause: error });
}

class Rewriter extends Transform {
  readonly #options: RewriteOptions;
  readonly #parser = new TarParser();
  readonly #inspector = new CheckpointInspector();
  /** What becomes of one chunk of the input. */
  readonly #gather = new Gather();
  #bytesIn = 0;
  #checksum = 0;
  #bytesOut = 0;
  /** `config.dump` is held back until it is whole. */
  #config: { entry: TarEntry; chunks: Buffer[] } | undefined;
  #summary: ArchiveSummary | undefined;

  constructor(options: RewriteOptions) {
    super({ readableHighWaterMark: bulkHighWaterMark, writableHighWaterMark: bulkHighWaterMark });
    this.#options = options;
  }

  async result(run: Promise<unknown>): Promise<ArchiveSummary> {
    try {
      await run;
    } catch (error) {
      throw asArchiveError(error);
    }
    return this.#summary as ArchiveSummary;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#bytesIn += chunk.length;
    this.#checksum = crc32(chunk, this.#checksum);
    try {
      for (const part of this.#parser.feed(chunk)) this.#part(part);
      this.#push(this.#gather.rest());
    } catch (error) {
      done(asArchiveError(error));
      return;
    }
    done();
  }

  override _flush(done: TransformCallback): void {
    const { pagesBeside } = this.#options;
    if (pagesBeside)
      pagesBeside.then(
        (pages) => this.#finish(pages, done),
        (error: Error) => done(error),
      );
    else this.#finish(new Map(), done);
  }

  #finish(pagesBeside: Pages, done: TransformCallback): void {
    try {
      this.#parser.finish();
      for (const [name, { digest }] of pagesBeside) this.#checksum = crc32(`${name} ${digest}\n`, this.#checksum);
      if ((this.#options.checksum ?? this.#checksum) !== this.#checksum)
        throw new ArchiveError('changed', 'the archive is not what it was when it was read first: its disk is to be mistrusted');
      const passed = { bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, checksum: this.#checksum };
      this.#summary = this.#inspector.summary(passed, this.#options.requireComplete ?? true, pagesBeside.size > 0);
    } catch (error) {
      done(asArchiveError(error));
      return;
    }
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    done(error === null ? null : asArchiveError(error));
  }

  #part(part: TarPart): void {
    switch (part.kind) {
      case 'entry':
        if (this.#inspector.entry(part.entry)) this.#config = { entry: part.entry, chunks: [] };
        else for (const block of part.entry.raw) this.#emit(block);
        break;
      case 'data':
        this.#inspector.data(part.data);
        if (this.#config !== undefined) this.#config.chunks.push(part.data);
        else this.#emit(part.data);
        break;
      case 'end':
        this.#inspector.end();
        if (this.#config !== undefined) this.#endConfig(this.#config.entry, Buffer.concat(this.#config.chunks), part.data);
        else this.#emit(part.data);
        break;
      case 'trailer':
        this.#emit(part.data);
        break;
    }
  }

  #endConfig(entry: TarEntry, content: Buffer, padding: Buffer): void {
    this.#config = undefined;
    const document = this.#inspector.config(content, this.#options.containerName);
    const reference = this.#options.rootfsImageRef;
    if (reference === undefined || document.rootfsImageRef === reference) {
      for (const block of [...entry.raw, content, padding]) this.#emit(block);
      return;
    }
    const changed = Buffer.from(JSON.stringify({ ...document, rootfsImageRef: reference }));
    for (const block of resized(entry.raw, changed.length)) this.#emit(block);
    this.#emit(changed);
    this.#emit(Buffer.alloc(paddingOf(changed.length)));
  }

  #emit(data: Buffer): void {
    if (data.length === 0) return;
    this.#bytesOut += data.length;
    this.#push(this.#gather.add(data));
  }

  #push(pieces: Iterable<Buffer>): void {
    for (const piece of pieces) this.push(piece);
  }
}

/** The header blocks of an entry with another size. The input's blocks are not touched. */
function resized(raw: Buffer[], size: number): Buffer[] {
  const blocks = raw.map((block) => Buffer.from(block));
  setHeaderSize(blocks.at(-1) as Buffer, size);
  // Before the entry's own header come pairs: an extension header, its body. A pax record `size` outranks the header's field.
  for (let i = 0; i + 1 < blocks.length; i += 2) {
    const header = blocks[i] as Buffer;
    if (header[156] !== 'x'.charCodeAt(0)) continue;
    const length = Number.parseInt(header.toString('latin1', 124, 135), 8);
    const records = decodePax((blocks[i + 1] as Buffer).subarray(0, length));
    if (!records.has('size')) continue;
    records.set('size', String(size));
    const body = encodePax(records);
    setHeaderSize(header, body.length);
    blocks[i + 1] = Buffer.concat([body, Buffer.alloc(paddingOf(body.length))]);
  }
  return blocks;
}
