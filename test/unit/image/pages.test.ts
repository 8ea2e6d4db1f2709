import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { breaking, growing, knowingNoPages } from './appended-fixtures.ts';
import { Cleanup, startRegistry } from './fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const page = 4096;
/** What heads of frames may take beside the content. */
const heads = 2_000;

/** A limit that does not make it slow: whatever is said here, all may go at once. */
const limited = (rate: number) => ({ rate, portion: (most: number) => most, take: async () => undefined });

const random = (pages: number) => randomBytes(pages * page);
const zeros = (pages: number) => Buffer.alloc(pages * page);
/** Three quarters of each page are zeros. */
const compressible = (pages: number) =>
  Buffer.concat(Array.from({ length: pages }, () => Buffer.concat([randomBytes(1024), Buffer.alloc(3072)])));

async function start(options: Parameters<typeof startRegistry>[1] = {}) {
  const found = await startRegistry(cleanup, options);
  const client = cleanup.client(new RegistryClient({ registry: found.registry, scheme: 'http' }));
  const stored = (digest: string) => join(found.directory, 'blobs', 'sha256', digest.replace('sha256:', ''));
  /** Uploads it, and sees that it has come as it is. */
  let first: number | undefined;
  const sent = async (content: Buffer, pace?: ReturnType<typeof limited>) => {
    const source = growing(content, first ?? content.length);
    const grown = setTimeout(() => source.grow(content.length), 10);
    const info = await client.uploadAppended('a/b', source, { ...(pace && { pace }) });
    clearTimeout(grown);
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
    expect(info).toEqual({ digest, size: content.length, crc32: crc32(content), wire: info.wire });
    expect(readFileSync(stored(digest)).equals(content)).toBe(true);
    await found.store.verify(digest);
    return { wire: info.wire, disk: statSync(stored(digest)).blocks * 512 };
  };
  const growth = (there: number) => {
    first = there;
  };
  return { ...found, client, sent, growth };
}

/** A registry that says it decodes these. */
const accepting =
  (names: string): ((handler: RequestListener) => RequestListener) =>
  (handler) =>
  (request, response) => {
    const { writeHead } = response;
    response.writeHead = ((status: number, headers: Record<string, string>) =>
      writeHead.call(response, status, { ...headers, 'x-podferry-pages': names })) as typeof writeHead;
    handler(request, response);
  };

test.each([
  ['no zeros', [random(40)], 40 * page],
  ['zeros at the beginning', [zeros(50), random(40)], 40 * page],
  ['zeros in the middle', [random(20), zeros(1000), random(20)], 40 * page],
  ['zeros at the end', [random(40), zeros(1000)], 40 * page],
  ['zeros at the end, less than a hole', [random(40), zeros(1)], 40 * page],
  ['zeros only', [zeros(2000)], 0],
  ['every other page', Array.from({ length: 600 }, (_, index) => (index % 2 ? zeros(1) : random(1))), 300 * page],
  ['an odd size, zeros at the end', [random(3), zeros(1), Buffer.alloc(1234)], 3 * page],
  ['an odd size, not zeros at the end', [zeros(200), Buffer.alloc(1234, 1)], 1234],
  ['a byte of zero', [Buffer.alloc(1)], 0],
  ['more than a segment', [random(10), zeros(40_000), random(10)], 20 * page],
])('%s', async (_name, parts, literal) => {
  const { sent } = await start();
  const { wire } = await sent(Buffer.concat(parts));
  expect(wire).toBeGreaterThanOrEqual(literal);
  expect(wire).toBeLessThan(literal * 1.01 + heads);
});

test('content of any kind, growing, limited or not, with a connection that breaks', async () => {
  const part = fc.tuple(fc.constantFrom(random, zeros, compressible), fc.nat(400), fc.nat(page));
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 8 }), fc.boolean(), fc.nat(3_000_000), async (parts, slow, after) => {
      const { sent, growth } = await start({ wrap: breaking(1, after + 1) });
      const content = Buffer.concat(parts.map(([kind, pages, cut]) => kind(pages).subarray(cut)));
      growth(Math.min(after, content.length));
      await sent(content, slow ? limited(2_000_000) : undefined);
    }),
    { numRuns: 25 },
  );
}, 30_000);

test('long zeros take no room on the disk', async () => {
  const { sent } = await start();
  expect((await sent(Buffer.concat([random(8), zeros(4000), random(8), zeros(4000)]))).disk).toBeLessThan(64 * page);
});

test('none travel after much without them either', async () => {
  const { sent } = await start();
  const { wire } = await sent(Buffer.concat([random(10_000), zeros(10_000)]));
  expect(wire).toBeLessThan(10_000 * page * 1.01);
});

test.each([
  ['zstd, gzip', 'compressible', 0.35],
  ['gzip', 'compressible', 0.35],
  ['', 'compressible', 1.01],
  ['zstd, gzip', 'random', 1.01],
])('a slow link, the other end decoding %j, content %s', async (names, kind, share) => {
  const { sent } = await start({ wrap: accepting(names) });
  const content = kind === 'random' ? random(1500) : compressible(1500);
  const { wire } = await sent(content, limited(2_000_000));
  expect(wire).toBeLessThan(content.length * share);
  if (share > 1) expect(wire).toBeGreaterThanOrEqual(content.length);
});

test('with zeros between and at an odd end, compressed too', async () => {
  const { sent } = await start();
  const content = Buffer.concat([compressible(500), zeros(300), compressible(500), random(200), zeros(2), Buffer.alloc(77, 5)]);
  expect((await sent(content, limited(2_000_000))).wire).toBeLessThan(content.length * 0.6);
});

test.each([
  ['with zeros', '', 400_000, undefined],
  ['compressed', 'zstd', 150_000, limited(2_000_000)],
])('%s, it goes on where a connection broke', async (_name, names, after, pace) => {
  let patches = 0;
  const counting: (handler: RequestListener) => RequestListener = (handler) => (request, response) => {
    if (request.method === 'PATCH') patches++;
    handler(request, response);
  };
  const { sent } = await start({ wrap: (handler) => counting(breaking(2, after)(accepting(names)(handler))) });
  const content = Buffer.concat([compressible(700), zeros(100), compressible(700), Buffer.alloc(99, 1), zeros(70)]);
  const { wire } = await sent(content, pace);
  expect(patches).toBeGreaterThan(2);
  expect(wire < content.length / 2).toBe(pace !== undefined);
});

test('a registry that knows no frames gets the content as it is', async () => {
  const { sent } = await start({ wrap: knowingNoPages });
  const content = Buffer.concat([compressible(300), zeros(300)]);
  expect((await sent(content, limited(2_000_000))).wire).toBe(content.length);
});

describe('a body that is not what it says', () => {
  /** The answer to a PATCH, and whether the upload still exists. */
  async function patch(body: Buffer, range: string | undefined) {
    const { registry, store } = await start();
    const begun = await fetch(`http://${registry}/v2/a/b/blobs/uploads/`, { method: 'POST' });
    const target = `http://${registry}${begun.headers.get('location')}`;
    const headers = { 'content-type': 'application/vnd.podferry.pages', ...(range !== undefined && { 'content-range': range }) };
    const answer = await fetch(target, { method: 'PATCH', headers, body: new Uint8Array(body) });
    const left = await fetch(target);
    return { status: answer.status, text: await answer.text(), left: left.status, usage: await store.usage() };
  }

  test('is refused, and the upload is gone', async () => {
    const found = await patch(Buffer.from('these are no frames of pages'), '0-4095');
    expect(found).toMatchObject({ status: 400, left: 404, usage: 0 });
    expect(found.text).toContain('frames of pages');
  });

  test('is refused when it would be more than a segment, or does not say', async () => {
    expect(await patch(Buffer.alloc(0), `0-${64 * 1024 * 1024}`)).toMatchObject({ status: 413 });
    expect(await patch(Buffer.alloc(0), undefined)).toMatchObject({ status: 400 });
  });
});

test('a frame that was damaged on its way is an ImageError', async () => {
  const damaging: (handler: RequestListener) => RequestListener = (handler) => (request, response) => {
    // In place, before the registry sees it: the encoding of the first frame.
    if (request.method === 'PATCH') request.once('data', (chunk: Buffer) => chunk.fill(7, 0, 1));
    handler(request, response);
  };
  const { client, store } = await start({ wrap: damaging });
  const content = random(20);
  const upload = client.uploadAppended('a/b', growing(content, content.length));
  await expect(upload).rejects.toMatchObject({ name: 'ImageError', code: 'protocol', status: 400 });
  expect(await store.usage()).toBe(0);
});
