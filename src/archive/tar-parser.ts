import { ArchiveError } from './errors.ts';
import { blockSize, decodeHeader, decodePax, displayName, isZeroBlock, type PaxRecords, paddingOf, type TarHeader } from './tar.ts';

/** One entry, as its header, the pax and GNU headers before it, and their raw blocks say. */
export interface TarEntry extends TarHeader {
  pax: PaxRecords;
  /** All header blocks of the entry as they came, the entry's own header last (but for GNU sparse extensions). */
  raw: Buffer[];
}

/** What a stretch of the input is. All parts in order, `raw` and `data` put together, are the input again. */
export type TarPart =
  | { kind: 'entry'; entry: TarEntry }
  | { kind: 'data'; data: Buffer }
  /** The content of the entry is complete; `data` is the padding behind it. */
  | { kind: 'end'; data: Buffer }
  /** The end-of-archive marker and what fills the last record; zeros. */
  | { kind: 'trailer'; data: Buffer };

/** Extension headers are metadata; more than this is an attack or damage. Bytes. */
const maxExtension = 1024 * 1024;

/**
 * Cuts a tar stream into its parts without changing a byte. Feed it chunks of any size; content is handed on as slices
 * of the chunk, so memory stays bounded by the chunk and the extension headers.
 */
export class TarParser {
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #raw: Buffer[] = [];
  #rawBytes = 0;
  #pax = new Map<string, string>();
  #globalPax = new Map<string, string>();
  #longName: string | undefined;
  #longLink: string | undefined;
  #state: 'header' | 'extension' | 'sparse' | 'body' | 'padding' | 'trailer' = 'header';
  #extension: TarHeader | undefined;
  #entry: TarEntry | undefined;
  #missing = 0;
  #zeroBlocks = 0;
  #offset = 0;

  /**
   * The parts that begin or continue in this chunk. The generator must be run to its end before the next chunk.
   * @throws ArchiveError `malformed`
   */
  *feed(chunk: Buffer): Generator<TarPart, void, undefined> {
    let at = 0;
    /** The next `wanted` bytes as one buffer, or undefined when the chunk does not hold them yet. */
    const take = (wanted: number): Buffer | undefined => {
      const available = chunk.length - at;
      if (this.#pendingBytes === 0 && available >= wanted) {
        at += wanted;
        return chunk.subarray(at - wanted, at);
      }
      const part = Math.min(wanted - this.#pendingBytes, available);
      if (part > 0) this.#pending.push(chunk.subarray(at, at + part));
      at += part;
      this.#pendingBytes += part;
      if (this.#pendingBytes < wanted) return undefined;
      const whole = Buffer.concat(this.#pending, wanted);
      this.#pending = [];
      this.#pendingBytes = 0;
      return whole;
    };
    const begin = this.#offset;
    while (at < chunk.length) {
      this.#offset = begin + at;
      switch (this.#state) {
        case 'header': {
          const block = take(blockSize);
          if (block === undefined) break;
          const part = this.#header(block);
          if (part !== undefined) yield part;
          break;
        }
        case 'extension': {
          const body = take(this.#missing);
          if (body === undefined) break;
          this.#endExtension(body);
          break;
        }
        case 'sparse': {
          const block = take(blockSize);
          if (block === undefined) break;
          this.#keep(block);
          // GNU: byte 504 of an extension block says whether another follows.
          if (block[504] !== 0) break;
          yield this.#beginBody();
          break;
        }
        case 'body': {
          const data = chunk.subarray(at, Math.min(chunk.length, at + this.#missing));
          at += data.length;
          this.#missing -= data.length;
          if (this.#missing === 0) {
            this.#missing = paddingOf((this.#entry as TarEntry).size);
            this.#state = 'padding';
          }
          yield { kind: 'data', data };
          break;
        }
        case 'padding': {
          const padding = take(this.#missing);
          if (padding !== undefined) yield this.#endEntry(padding);
          break;
        }
        case 'trailer': {
          const data = chunk.subarray(at);
          at = chunk.length;
          if (!isZeroBlock(data)) throw this.#malformed('there is data behind the end-of-archive marker');
          yield { kind: 'trailer', data };
          break;
        }
      }
      if (this.#state === 'padding' && this.#missing === 0) yield this.#endEntry(Buffer.alloc(0));
    }
    this.#offset = begin + chunk.length;
  }

  /**
   * To be called when the input has ended.
   * @throws ArchiveError `truncated` when the archive has not: no end-of-archive marker (two blocks of zeros) was seen.
   */
  finish(): void {
    if (this.#state === 'trailer') return;
    const where =
      this.#entry !== undefined
        ? `inside ${displayName(this.#entry.name)}, ${this.#missing} bytes of it missing`
        : 'before the end-of-archive marker (two blocks of zeros)';
    throw new ArchiveError('truncated', `the archive ends after ${this.#offset} bytes, ${where}`);
  }

  #malformed(what: string): ArchiveError {
    return new ArchiveError('malformed', `tar, near byte ${this.#offset}: ${what}`);
  }

  #keep(block: Buffer): void {
    this.#rawBytes += block.length;
    if (this.#rawBytes > 2 * maxExtension) throw this.#malformed('the headers of one entry are larger than 2 MiB');
    this.#raw.push(block);
  }

  #header(block: Buffer): TarPart | undefined {
    if (isZeroBlock(block)) {
      if (this.#raw.length > 0) throw this.#malformed('an extension header without its entry');
      this.#zeroBlocks++;
      if (this.#zeroBlocks === 2) this.#state = 'trailer';
      return { kind: 'trailer', data: block };
    }
    if (this.#zeroBlocks > 0) throw this.#malformed('a single block of zeros between entries');
    let header: TarHeader;
    try {
      header = decodeHeader(block);
    } catch (error) {
      throw error instanceof ArchiveError ? this.#malformed(error.message) : error;
    }
    this.#keep(block);
    if ('xgLK'.includes(header.type)) {
      if (header.size > maxExtension) throw this.#malformed(`an extension header of ${header.size} bytes`);
      this.#extension = header;
      this.#missing = header.size + paddingOf(header.size);
      this.#state = 'extension';
      if (this.#missing === 0) this.#endExtension(Buffer.alloc(0));
      return undefined;
    }
    const pax: PaxRecords = this.#globalPax.size === 0 ? this.#pax : new Map([...this.#globalPax, ...this.#pax]);
    const integer = (key: string, otherwise: number) => {
      const value = pax.get(key);
      if (value === undefined) return otherwise;
      if (!/^[0-9]{1,15}$/.test(value)) throw this.#malformed(`pax record ${key} is not a number`);
      return Number(value);
    };
    this.#entry = {
      ...header,
      name: pax.get('path') ?? this.#longName ?? header.name,
      linkname: pax.get('linkpath') ?? this.#longLink ?? header.linkname,
      size: integer('size', header.size),
      uid: integer('uid', header.uid),
      gid: integer('gid', header.gid),
      mtime: pax.has('mtime') ? Number.parseFloat(pax.get('mtime') as string) : header.mtime,
      pax,
      raw: this.#raw,
    };
    // Links, directories and devices have no content, whatever their size field says (POSIX pax, ustar typeflag).
    if ('123456'.includes(header.type)) this.#entry.size = 0;
    // GNU: byte 482 of a sparse header says whether extension blocks follow.
    if (header.type === 'S' && block[482] !== 0) {
      this.#state = 'sparse';
      return undefined;
    }
    return this.#beginBody();
  }

  #beginBody(): TarPart {
    const entry = this.#entry as TarEntry;
    this.#raw = [];
    this.#rawBytes = 0;
    this.#pax = new Map();
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#missing = entry.size;
    this.#state = entry.size === 0 ? 'padding' : 'body';
    return { kind: 'entry', entry };
  }

  #endEntry(padding: Buffer): TarPart {
    this.#entry = undefined;
    this.#missing = 0;
    this.#state = 'header';
    return { kind: 'end', data: padding };
  }

  #endExtension(padded: Buffer): void {
    const header = this.#extension as TarHeader;
    this.#keep(padded);
    const body = padded.subarray(0, header.size);
    const name = () => body.toString('latin1').replace(/\0.*$/s, '');
    if (header.type === 'x') this.#pax = decodePax(body);
    else if (header.type === 'g') this.#globalPax = new Map([...this.#globalPax, ...decodePax(body)]);
    else if (header.type === 'L') this.#longName = name();
    else this.#longLink = name();
    this.#state = 'header';
  }
}
