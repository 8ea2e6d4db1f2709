import { randomBytes } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { contentOfFrames, frameBytes, frameHead } from '../../../src/image/page-frames.ts';
import type { Run } from '../../../src/image/zero-pages.ts';

/** What a body decodes to, when it comes in parts of this size. */
async function decoded(body: Buffer, length: number, part = body.length): Promise<Buffer> {
  async function* batches() {
    for (let at = 0; at < body.length; at += part) yield [body.subarray(at, at + part)];
  }
  const spans: Buffer[] = [];
  for await (const some of contentOfFrames(batches(), length))
    spans.push(...some.map((span) => (typeof span === 'number' ? Buffer.alloc(span) : Buffer.from(span))));
  return Buffer.concat(spans);
}

const runs: Run[] = [
  { literal: 0, zeros: 4096 },
  { literal: 4096, zeros: 8192 },
  { literal: 100, zeros: 0 },
];
const literal = Buffer.concat([Buffer.alloc(2048, 'memory '), randomBytes(2048), Buffer.alloc(100, 3)]);
const content = Buffer.concat([Buffer.alloc(4096), literal.subarray(0, 4096), Buffer.alloc(8192), literal.subarray(4096)]);
const framed = (encoding: 'none' | 'zstd' | 'gzip', payload: Buffer) => Buffer.concat([frameHead(encoding, runs, payload.length), payload]);
const frames = {
  none: framed('none', literal),
  zstd: framed('zstd', zstdCompressSync(literal)),
  gzip: framed('gzip', gzipSync(literal)),
};

test('frames of all encodings, in parts of any size', async () => {
  const body = Buffer.concat([frames.none, frames.zstd, frames.gzip, frames.none]);
  const whole = Buffer.concat([content, content, content, content]);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: body.length }), async (part) => {
      expect((await decoded(body, whole.length, part)).equals(whole)).toBe(true);
    }),
    { numRuns: 50, examples: [[1], [7], [body.length]] },
  );
});

const changed = (frame: Buffer, at: number, value: number) => {
  const other = Buffer.from(frame);
  other[at] = value;
  return other;
};
const bomb = (size: number, encoding: 'zstd' | 'gzip', claimed: number) => {
  const payload = encoding === 'zstd' ? zstdCompressSync(Buffer.alloc(size)) : gzipSync(Buffer.alloc(size));
  return Buffer.concat([frameHead(encoding, [{ literal: claimed, zeros: 0 }], payload.length), payload]);
};
/** A frame of zstd by hand (RFC 8878, 3.1.1): one block that is not compressed, and a window of 32 MiB. */
const blockHead = [0, 8, 16].map((shift) => (((3000 << 3) | 1) >> shift) & 0xff);
const wide = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, (25 - 10) << 3, ...blockHead]), randomBytes(3000)]);

test.each([
  ['cut within the head', frames.none.subarray(0, 20), /within one/],
  ['cut within the payload', frames.none.subarray(0, -1), /within one/],
  ['cut within a compressed payload', frames.zstd.subarray(0, -1), /within one/],
  ['more than was announced', Buffer.concat([frames.none, frames.none]), /where 0 were still to come/],
  ['less than was announced', Buffer.alloc(0), /0 bytes of content, 16484 were announced/],
  ['an unknown encoding', changed(frames.none, 0, 9), /not known/],
  ['no runs', changed(frames.none, 2, 0), /larger than may be/],
  ['too many runs', changed(frames.none, 3, 2), /larger than may be/],
  ['another size of its literals', changed(frames.none, 4, 1), /do not agree/],
  ['another size of its payload', changed(frames.none, 8, 1), /do not agree/],
  ['a payload larger than any', changed(frames.zstd, 11, 1), /larger than may be/],
  ['zstd, damaged', changed(frames.zstd, 40, 0xff), /cannot be decoded as zstd/],
  ['gzip, damaged', changed(frames.gzip, frames.gzip.length - 6, 0xff), /cannot be decoded as gzip/],
  ['gzip named zstd', changed(frames.gzip, 0, 1), /cannot be decoded as zstd/],
])('refused: %s', async (_name, body, message) => {
  await expect(decoded(body, content.length)).rejects.toMatchObject({ code: 'protocol', message: expect.stringMatching(message) });
});

test.each([
  ['zstd that decodes to more than it says', bomb(50_000_000, 'zstd', 4096), 4096, /cannot be decoded/],
  ['gzip that decodes to more than it says', bomb(50_000_000, 'gzip', 4096), 4096, /cannot be decoded/],
  ['zstd that decodes to less than it says', bomb(4000, 'zstd', 4096), 4096, /4000 bytes instead of 4096/],
  ['more than a frame may have', bomb(frameBytes + 1, 'zstd', frameBytes + 1), frameBytes + 1, /larger than may be/],
  ['zeros without end', frameHead('none', [{ literal: 0, zeros: 0xffff_ffff }], 0), 4096, /4294967295 bytes of content/],
  [
    'a window that takes much memory',
    Buffer.concat([frameHead('zstd', [{ literal: 3000, zeros: 0 }], wide.length), wide]),
    3000,
    /cannot be decoded/,
  ],
])('a bomb is refused: %s', async (_name, body, length, message) => {
  await expect(decoded(body, length)).rejects.toMatchObject({ code: 'protocol', message: expect.stringMatching(message) });
});
