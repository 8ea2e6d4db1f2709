import { randomUUID } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from './errors.ts';
import { PageSums } from './page-sums.ts';

/** Of a blob of which there are checksums. */
export interface Sum {
  /** Of the whole, as its sender gave it; undefined: of pages only. */
  crc32?: number;
  /** Whether there are those of its pages. */
  pages?: boolean;
  /** The file as it was then (`fingerprintOf`). */
  written: string;
  /** When. Milliseconds since the epoch. */
  at: number;
}

/** Another as soon as somebody writes to the file or puts another in its place; links to it do not matter. */
export const fingerprintOf = ({ ino, size, mtimeNs }: BigIntStats) => `${ino} ${size} ${mtimeNs}`;

/** Where a store in a directory has its blobs, named by the hexadecimal digits of their digests. */
export function blobsDirectory(directory: string): string {
  return join(directory, 'blobs', 'sha256');
}

/** The files of a store: blobs, their checksums, and what is not complete. */
export class BlobFiles {
  readonly blobs: string;
  readonly sums: string;
  readonly uploads: string;

  constructor(directory: string) {
    this.blobs = blobsDirectory(directory);
    this.sums = join(directory, 'crc32');
    this.uploads = join(directory, 'uploads');
  }

  pathOf(digest: string): string {
    return join(this.blobs, nameOf(digest));
  }

  newUpload(): string {
    return join(this.uploads, randomUUID());
  }

  /** What is not there or cannot be read leaves the digest to compare with. */
  async sumOf(digest: string): Promise<Sum | undefined> {
    try {
      return JSON.parse(await readFile(this.sumPath(digest), 'utf8')) as Sum;
    } catch {
      return undefined;
    }
  }

  async pageSumsOf(digest: string): Promise<PageSums> {
    return new PageSums(await readFile(this.pageSumsPath(digest)));
  }

  async removeSums(digest: string): Promise<void> {
    await rm(this.sumPath(digest), { force: true });
    await rm(this.pageSumsPath(digest), { force: true });
  }

  sumPath(digest: string): string {
    return join(this.sums, nameOf(digest));
  }

  pageSumsPath(digest: string): string {
    return `${this.sumPath(digest)}.pages`;
  }
}

/** Digests come from the network and become a path. */
function nameOf(digest: string): string {
  if (!/^sha256:[a-f0-9]{64}$/.test(digest)) throw new ImageError('protocol', `${JSON.stringify(digest)} is not a sha256 digest`);
  return digest.slice('sha256:'.length);
}
