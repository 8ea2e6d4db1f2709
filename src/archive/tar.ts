import { ArchiveError } from './errors.ts';

/**
 * Tar headers (POSIX.1-2024 pax, ustar; GNU extensions as far as reading needs them).
 *
 * Names are byte strings: every character is one byte (latin1), because file names on Linux need not be UTF-8. Use
 * `displayName` for people and `Buffer.from(name, 'latin1')` for the file system.
 */

export const blockSize = 512;

/** Padding after `size` bytes up to the next block, in bytes. */
export function paddingOf(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}

/** A byte-string name as text; what is not UTF-8 shows as U+FFFD. */
export function displayName(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}

/** The fields of one header block that podferry uses. */
export interface TarHeader {
  name: string;
  /** Permission bits including set-uid, set-gid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content that follow. */
  size: number;
  /** Seconds since the epoch; with a fraction if a pax record says so, exact to about a microsecond (a number holds no more). */
  mtime: number;
  /** The type flag: `0` file, `1` hard link, `2` symlink, `5` directory, `6` FIFO, `x` and `g` pax, `L` and `K` GNU long names, `S` GNU sparse. */
  type: string;
  linkname: string;
}

/** Pax records by key; values are byte strings. */
export type PaxRecords = ReadonlyMap<string, string>;

function text(block: Buffer, offset: number, length: number): string {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end === -1 ? length : end);
}

function number(block: Buffer, offset: number, length: number, field: string): number {
  if ((block[offset] ?? 0) & 0x80) {
    // GNU base-256 for what octal digits cannot hold; negative numbers (0xff) only occur in times before 1970.
    const negative = block[offset] === 0xff;
    let value = BigInt(negative ? -1 : (block[offset] ?? 0) & 0x7f);
    for (let i = offset + 1; i < offset + length; i++) value = value * 256n + BigInt(block[i] ?? 0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
      throw new ArchiveError('malformed', `tar header: ${field} is out of range`);
    }
    return Number(value);
  }
  const digits = text(block, offset, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw new ArchiveError('malformed', `tar header: ${field} is not a number`);
  return Number.parseInt(digits, 8);
}

function checksum(block: Buffer): number {
  let sum = 8 * 0x20; // the checksum field itself counts as spaces
  for (let i = 0; i < 148; i++) sum += block[i] as number;
  for (let i = 156; i < blockSize; i++) sum += block[i] as number;
  return sum;
}

/** Whether the block is all zeros: two of them end an archive. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/**
 * Reads one header block of 512 bytes.
 * @throws ArchiveError `malformed` when its checksum or a number in it is wrong.
 */
export function decodeHeader(block: Buffer): TarHeader {
  const stated = text(block, 148, 8).trim();
  if (!/^[0-7]+$/.test(stated) || Number.parseInt(stated, 8) !== checksum(block)) {
    throw new ArchiveError('malformed', 'tar header: the checksum is wrong (the archive is damaged, compressed, or not a tar)');
  }
  const magic = block.toString('latin1', 257, 265);
  const prefix = magic === 'ustar\x0000' ? text(block, 345, 155) : '';
  const name = text(block, 0, 100);
  const type = block[156] === 0 ? '0' : String.fromCharCode(block[156] as number);
  const size = number(block, 124, 12, 'size');
  if (size < 0) throw new ArchiveError('malformed', 'tar header: negative size');
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, 100, 8, 'mode'),
    uid: number(block, 108, 8, 'uid'),
    gid: number(block, 116, 8, 'gid'),
    size,
    mtime: number(block, 136, 12, 'mtime'),
    type,
    linkname: text(block, 157, 100),
  };
}

function writeOctal(block: Buffer, value: number, offset: number, length: number): void {
  block.write(value.toString(8).padStart(length - 1, '0'), offset, 'latin1');
}

/** Puts the checksum into a header block whose other fields are final. What closes the field is kept (writers differ). */
export function sealHeader(block: Buffer): void {
  block.write(checksum(block).toString(8).padStart(6, '0'), 148, 'latin1');
}

/** Changes the size in a header block and renews its checksum. Sizes up to 8 GiB - 1. */
export function setHeaderSize(block: Buffer, size: number): void {
  if ((block[124] as number) & 0x80) block[135] = 0;
  writeOctal(block, size, 124, 12);
  sealHeader(block);
}

/**
 * The blocks that announce an entry: a pax header for whatever a ustar header cannot hold (long or non-ASCII names,
 * large ids and sizes, and the records given), then the ustar header.
 */
export function encodeHeader(header: TarHeader, records: PaxRecords = new Map()): Buffer {
  const pax = new Map(records);
  const fits = (value: number, digits: number) => Number.isInteger(value) && value >= 0 && value < 8 ** digits;
  const plain = (value: string) => value.length <= 100 && /^[\x20-\x7e]*$/.test(value);
  if (!plain(header.name)) pax.set('path', header.name);
  if (!plain(header.linkname)) pax.set('linkpath', header.linkname);
  if (!fits(header.uid, 7)) pax.set('uid', String(header.uid));
  if (!fits(header.gid, 7)) pax.set('gid', String(header.gid));
  if (!fits(header.size, 11)) pax.set('size', String(header.size));
  if (!fits(header.mtime, 11) && !pax.has('mtime')) pax.set('mtime', String(header.mtime));
  const blocks: Buffer[] = [];
  if (pax.size > 0) {
    const body = encodePax(pax);
    blocks.push(headerBlock({ ...header, name: 'PaxHeader', linkname: '', size: body.length, type: 'x' }));
    blocks.push(body, Buffer.alloc(paddingOf(body.length)));
  }
  blocks.push(headerBlock(header));
  return Buffer.concat(blocks);
}

function headerBlock(header: TarHeader): Buffer {
  const block = Buffer.alloc(blockSize);
  const clamp = (value: number, digits: number) => Math.min(Math.max(Math.floor(value), 0), 8 ** digits - 1);
  block.write(header.name.slice(0, 100), 0, 'latin1');
  writeOctal(block, header.mode & 0o7777, 100, 8);
  writeOctal(block, clamp(header.uid, 7), 108, 8);
  writeOctal(block, clamp(header.gid, 7), 116, 8);
  writeOctal(block, clamp(header.size, 11), 124, 12);
  writeOctal(block, clamp(header.mtime, 11), 136, 12);
  block.write(header.type, 156, 'latin1');
  block.write(header.linkname.slice(0, 100), 157, 'latin1');
  block.write('\0 ', 154, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  sealHeader(block);
  return block;
}

/** Records as the body of a pax header: `LENGTH KEY=VALUE\n`, the length counting itself. */
export function encodePax(records: PaxRecords): Buffer {
  let body = '';
  for (const [key, value] of records) {
    const rest = ` ${key}=${value}\n`;
    let length = rest.length;
    while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
    body += length + rest;
  }
  return Buffer.from(body, 'latin1');
}

/**
 * The records of a pax header's body.
 * @throws ArchiveError `malformed`
 */
export function decodePax(body: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  const all = body.toString('latin1');
  for (let at = 0; at < all.length; ) {
    const space = all.indexOf(' ', at);
    const digits = space === -1 ? '' : all.slice(at, space);
    const end = at + Number(digits);
    const equals = all.indexOf('=', space);
    if (!/^[1-9][0-9]{0,8}$/.test(digits) || end > all.length || all[end - 1] !== '\n' || equals === -1 || equals >= end) {
      throw new ArchiveError('malformed', 'tar: a pax record is damaged');
    }
    records.set(all.slice(space + 1, equals), all.slice(equals + 1, end - 1));
    at = end;
  }
  return records;
}
