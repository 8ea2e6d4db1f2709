import { promisify } from 'node:util';
import { constants, gunzip, gzip, zstdCompress, zstdDecompress } from 'node:zlib';
import type { Compression } from './encoding-choice.ts';

const level = 1;

/** What a frame of zstd may ask for as its window, as a power of two: more than a page frame has content. */
const windowLog = 20;

const compressors: Record<Compression, (content: Buffer, chunkSize: number) => Promise<Buffer>> = {
  zstd: (content, chunkSize) => promisify(zstdCompress)(content, { chunkSize, params: { [constants.ZSTD_c_compressionLevel]: level } }),
  gzip: (content, chunkSize) => promisify(gzip)(content, { chunkSize, level }),
};

const decompressors: Record<Compression, (content: Buffer, limits: { maxOutputLength: number; chunkSize: number }) => Promise<Buffer>> = {
  zstd: (content, limits) => promisify(zstdDecompress)(content, { ...limits, params: { [constants.ZSTD_d_windowLogMax]: windowLog } }),
  gzip: (content, limits) => promisify(gunzip)(content, limits),
};

/** Compresses in Node.js's thread pool; the content must stay as it is until then. */
export function compress(encoding: Compression, content: Buffer): Promise<Buffer> {
  // Room for all of it at once: each further piece is a way to the thread pool and back.
  return compressors[encoding](content, content.length + 1024);
}

/**
 * Decompresses in the thread pool.
 *
 * @param length of the content, in bytes; no more memory than that is used for it
 * @throws Error when it is anything else
 */
export async function decompress(encoding: Compression, compressed: Buffer, length: number): Promise<Buffer> {
  const content = await decompressors[encoding](compressed, { maxOutputLength: length, chunkSize: Math.max(length, 64) });
  if (content.length !== length) throw new Error(`it has ${content.length} bytes instead of ${length}`);
  return content;
}
