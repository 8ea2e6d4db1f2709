import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import type { AppendedSource } from '../../../src/image/appended.ts';
import type { BlobStore } from '../../../src/image/blob-store.ts';
import { digestOf } from '../../../src/image/digest.ts';
import { pagesType } from '../../../src/image/page-frames.ts';
import { patchedDigest } from '../../../src/image/patch.ts';
import { type Place, Places, placesType } from '../../../src/image/places.ts';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { patchHeader } from '../../../src/image/upload-headers.ts';
import { encodePatch, maxPatchBytes, patchType } from '../../../src/image/whole-patch.ts';
import { breaking, growing } from './appended-fixtures.ts';
import { Cleanup, startRegistry } from './fixtures.ts';

/** Blobs that are written anew in part. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const page = 4096;

async function start(wrap?: Parameters<typeof startRegistry>[1]) {
  const { registry, store, directory } = await startRegistry(cleanup, wrap);
  return { registry, store, directory, client: cleanup.client(new RegistryClient({ registry, scheme: 'http' })) };
}

/** Changes of a content: at each place, so many bytes. */
function changesOf(content: Buffer, places: Place[]): AppendedSource & { content: Buffer } {
  const changed = Buffer.concat(places.map(({ at, length }) => content.subarray(at, at + length)));
  return {
    ...growing(changed, changed.length),
    content: changed,
    places(position, length, each) {
      let from = 0;
      for (const place of places) {
        const [first, last] = [Math.max(from, position), Math.min(from + place.length, position + length)];
        if (first < last) each(place.at + first - from, last - first);
        from += place.length;
      }
    },
  };
}

const pathOf = (directory: string, digest: string) => join(directory, 'blobs', 'sha256', digest.slice(7));

/** Reads it although it came a moment ago. */
async function verifyAgain(store: BlobStore, directory: string, digest: string) {
  utimesSync(pathOf(directory, digest), new Date(), new Date(Date.now() - 1000));
  return store.verify(digest);
}

test('what is written anew is, and the rest stays; again and again', async () => {
  const { store, directory, client } = await start();
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 60 }),
      fc.array(fc.array(fc.tuple(fc.nat(59), fc.integer({ min: 1, max: 9 }), fc.boolean()), { maxLength: 6 }), { maxLength: 4 }),
      async (pages, patches) => {
        const content = randomBytes(pages * page);
        let { digest } = await client.uploadAppended('a/b', growing(content, content.length), { patchable: true });
        for (const parts of patches) {
          const places: Place[] = [];
          let end = 0;
          for (const [first, count, zeros] of parts.toSorted(([a], [b]) => a - b)) {
            const from = Math.max(first, end);
            end = Math.min(from + count, pages);
            if (from >= end) break;
            const into = content.subarray(from * page, end * page);
            if (zeros) into.fill(0);
            else randomBytes(into.length).copy(into);
            places.push({ at: from * page, length: into.length });
          }
          const source = changesOf(content, places);
          const sent = await client.uploadAppended('a/b', source, { patch: digest });
          expect(sent.size).toBe(source.content.length);
          expect(await store.stat(digest)).toBeUndefined();
          digest = sent.digest;
        }
        expect((await buffer(store.read(digest))).equals(content)).toBe(true);
        expect(await verifyAgain(store, directory, digest)).toEqual({ digest, size: content.length });
        await store.remove(digest);
      },
    ),
    { numRuns: 30 },
  );
  expect(readdirSync(join(directory, 'uploads'))).toEqual([]);
  expect(readdirSync(join(directory, 'crc32'))).toEqual([]);
});

test('a connection that breaks in the middle of a page does no harm', async () => {
  const { store, directory, client } = await start({ wrap: breaking(3, 1_500_001) });
  const content = randomBytes(3000 * page);
  const base = await client.uploadAppended('a/b', growing(content, content.length), { patchable: true });
  const places = Array.from({ length: 900 }, (_, index) => ({ at: index * 3 * page, length: 2 * page }));
  for (const { at, length } of places) randomBytes(length).copy(content, at);
  const { digest } = await client.uploadAppended('a/b', changesOf(content, places), { patch: base.digest });
  expect((await buffer(store.read(digest))).equals(content)).toBe(true);
  expect(await verifyAgain(store, directory, digest)).toEqual({ digest, size: content.length });
});

/** A blob of eight pages, and it in the store. */
async function eight(wrap?: Parameters<typeof startRegistry>[1]) {
  const started = await start(wrap);
  const content = randomBytes(8 * page);
  const { digest } = await started.client.uploadAppended('a/b', growing(content, content.length), { patchable: true });
  return { ...started, content, digest };
}

test('its digest says what it was, and what was written where', async () => {
  const { client, content, digest } = await eight();
  const places = new Places();
  places.add(page, page);
  places.add(2 * page, page);
  const source = changesOf(content, [{ at: page, length: 2 * page }]);
  const patched = await client.uploadAppended('a/b', source, { patch: digest });
  expect(patched.digest).toBe(patchedDigest(digest, digestOf(source.content), places.digest()));
});

test('damage on the disk is found', async () => {
  const { store, directory, client, content, digest } = await eight();
  const patched = await client.uploadAppended('a/b', changesOf(content, [{ at: 0, length: page }]), { patch: digest });
  const path = pathOf(directory, patched.digest);
  const found = readFileSync(path);
  found.writeUInt8(found.readUInt8(5 * page) ^ 1, 5 * page);
  writeFileSync(path, found);
  await expect(store.verify(patched.digest)).rejects.toMatchObject({
    code: 'digest-mismatch',
    message: expect.stringContaining('damaged'),
  });
});

test('only a blob that is there, and was meant to be patched', async () => {
  const { client, content, digest } = await eight();
  const plain = await client.uploadAppended('a/b', growing(Buffer.from('plain'), 5));
  const patch = (base: string) => client.uploadAppended('a/b', changesOf(content, [{ at: 0, length: page }]), { patch: base });
  await expect(patch(plain.digest)).rejects.toMatchObject({ code: 'not-found' });
  await expect(patch(digestOf(Buffer.from('other')))).rejects.toMatchObject({ code: 'not-found' });
  await patch(digest);
  await expect(patch(digest)).rejects.toMatchObject({ code: 'not-found' });
});

test('a registry as they were before patches gets nothing written where it does not belong', async () => {
  const knowingNoPatches: NonNullable<Parameters<typeof startRegistry>[1]>['wrap'] = (handler) => (request, response) => {
    delete request.headers[patchHeader];
    handler(request, response);
  };
  const { store, directory, client, content, digest } = await eight({ wrap: knowingNoPatches });
  const source = changesOf(content, [{ at: 0, length: page }]);
  await expect(client.uploadAppended('a/b', source, { patch: digest })).rejects.toMatchObject({ code: 'not-found' });
  expect(readdirSync(join(directory, 'uploads'))).toEqual([]);
  expect(await verifyAgain(store, directory, digest)).toMatchObject({ digest });
});

describe('a small patch goes in one request', () => {
  const counted = async (wrap: (request: IncomingMessage) => void) => {
    const requests: string[] = [];
    const started = await eight({
      wrap: (handler) => (request, response) => {
        requests.push(`${request.method} ${request.headers['content-type'] ?? ''}`.trim());
        wrap(request);
        handler(request, response);
      },
    });
    requests.length = 0;
    const { client, store, directory, content, digest } = started;
    randomBytes(3 * page).copy(content, 2 * page);
    content.fill(0, 7 * page);
    const places = [
      { at: 2 * page, length: 3 * page },
      { at: 7 * page, length: page },
    ];
    const patched = await client.uploadAppended('a/b', changesOf(content, places), { patch: digest });
    expect((await buffer(store.read(patched.digest))).equals(content)).toBe(true);
    expect(await verifyAgain(store, directory, patched.digest)).toMatchObject({ digest: patched.digest });
    return { ...started, requests, patched };
  };

  test('which is all', async () => {
    const { requests, patched } = await counted(() => undefined);
    expect(requests).toEqual([`POST ${patchType}`]);
    // Three pages, and a head: the fourth is zeros.
    expect(patched).toMatchObject({ size: 4 * page, wire: expect.any(Number) });
    expect(patched.wire - 3 * page).toBeLessThan(100);
  });

  test('that is made again when the connection breaks: nothing was written', async () => {
    let left = 2;
    const { requests } = await counted((request) => {
      if (request.headers['content-type'] === patchType && left-- > 0) request.once('data', () => request.socket.destroy());
    });
    expect(requests).toEqual(Array(3).fill(`POST ${patchType}`));
  });

  test('and in several where the registry knows no such requests', async () => {
    const { requests } = await counted((request) => {
      if (request.headers['content-type'] === patchType) request.headers['content-type'] = 'application/octet-stream';
    });
    expect(requests).toEqual([`POST ${patchType}`, `PATCH ${placesType}`, `PATCH ${pagesType}`, 'PUT']);
  });

  test('that is refused when it is cut short, or is none', async () => {
    const { store, digest, registry } = await eight();
    const post = (body: Buffer) =>
      fetch(`http://${registry}/v2/a/b/blobs/uploads/`, {
        method: 'POST',
        body,
        headers: { 'content-type': patchType, [patchHeader]: digest },
      });
    const whole = encodePatch({ places: new Places(), length: 0, frames: Buffer.alloc(0) });
    const status = async (body: Buffer) => (await post(body)).status;
    expect(await status(whole.subarray(0, 7))).toBe(400);
    expect(await status(Buffer.concat([Buffer.from([16, 0, 0, 0]), Buffer.alloc(12)]))).toBe(400);
    expect(await status(Buffer.alloc(maxPatchBytes + 1))).toBe(413);
    expect(await store.stat(digest)).toEqual({ size: 8 * page });
    expect(await status(whole)).toBe(201);
  });
});

test('without the checksums of its pages it is not taken to be sound', async () => {
  const { store, directory, client, content, digest } = await eight();
  const patched = await client.uploadAppended('a/b', changesOf(content, [{ at: 0, length: page }]), { patch: digest });
  rmSync(join(directory, 'crc32', `${patched.digest.slice(7)}.pages`));
  await expect(verifyAgain(store, directory, patched.digest)).rejects.toMatchObject({ code: 'digest-mismatch' });
});

test.each<[string, Place[]]>([
  ['places outside of the blob', [{ at: 7 * page, length: 2 * page }]],
  ['content without a place', []],
])('%s are refused, and nothing is left', async (_, places) => {
  const { directory, client, content, digest } = await eight();
  const source = {
    ...changesOf(Buffer.concat([content, content]), [{ at: 7 * page, length: 2 * page }]),
    places: (_position: number, _length: number, each: (at: number, length: number) => void) => {
      for (const { at, length } of places) each(at, length);
    },
  };
  await expect(client.uploadAppended('a/b', source, { patch: digest })).rejects.toMatchObject({ status: 400 });
  expect(readdirSync(join(directory, 'uploads'))).toEqual([]);
  expect(readdirSync(join(directory, 'blobs', 'sha256'))).toEqual([]);
});

test('a patch whose content or places are others than the sender has is not taken', async () => {
  const { store, digest } = await eight();
  const patch = await store.createPatch(digest);
  const places = new Places();
  places.add(page, page);
  patch.place?.(places);
  const content = randomBytes(page);
  await patch.append(Readable.from([content]));
  const elsewhere = new Places();
  elsewhere.add(0, page);
  await expect(patch.commit({ digest: digestOf(content), places: elsewhere.digest() })).rejects.toMatchObject({ code: 'digest-mismatch' });
  expect(await store.usage()).toBe(0);
});

test.each([
  ['they end within one', Buffer.alloc(17)],
  ['one is not a part of a file', Buffer.alloc(16, 255)],
])('places that are none: %s', (message, encoded) => {
  expect(() => Places.decode(encoded)).toThrow(message);
});

test('places stay what they were through their encoding, and are put together where they follow each other', () => {
  const places = new Places();
  for (const [at, length] of [
    [2 ** 40, page],
    [2 ** 40 + page, 10],
    [0, 1],
  ] as const)
    places.add(at, length);
  const decoded = Places.decode(places.encode());
  expect([decoded.get(0), decoded.get(1), decoded.get(2)]).toEqual([{ at: 2 ** 40, length: page + 10 }, { at: 0, length: 1 }, undefined]);
  expect(decoded.digest()).toBe(places.digest());
});
