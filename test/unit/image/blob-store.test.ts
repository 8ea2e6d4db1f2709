import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { BlobStore } from '../../../src/image/blob-store.ts';
import { digestOf } from '../../../src/image/digest.ts';
import { Cleanup, smallDisk } from './fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const stream = (content: Buffer) => Readable.from([content]);
const leftovers = (directory: string) => [...readdirSync(join(directory, 'uploads')), ...readdirSync(join(directory, 'blobs', 'sha256'))];

test('what is written is read back under its digest, whole and in ranges', async () => {
  const store = await BlobStore.open(cleanup.directory());
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 })), async (chunks) => {
      const parts = chunks.map((chunk) => Buffer.from(chunk)).filter((chunk) => chunk.length > 0);
      const content = Buffer.concat(parts);
      const info = await store.write(Readable.from(parts));
      expect(info).toEqual({ digest: digestOf(content), size: content.length });
      expect(await store.stat(info.digest)).toEqual({ size: content.length });
      expect((await buffer(store.read(info.digest))).equals(content)).toBe(true);
      if (content.length > 10)
        expect((await buffer(store.read(info.digest, { start: 3, end: 9 }))).equals(content.subarray(3, 10))).toBe(true);
      expect(await store.verify(info.digest)).toEqual(info);
    }),
    { numRuns: 20 },
  );
});

test('files are for their owner only; usage, removal', async () => {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const { digest } = await store.write(stream(Buffer.alloc(1000, 1)));
  const path = join(directory, 'blobs', 'sha256', digest.slice(7));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  for (const name of ['uploads', 'blobs', 'blobs/sha256']) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o700);
  expect(await store.usage()).toBe(1000);
  await store.remove(digest);
  await store.remove(digest);
  expect(await store.usage()).toBe(0);
  expect(await store.stat(digest)).toBeUndefined();
  await expect(buffer(store.read(digest))).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(store.verify(digest)).rejects.toMatchObject({ code: 'not-found' });
});

test('unexpected content leaves nothing', async () => {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const content = Buffer.from('content');
  await expect(store.writeExpected(stream(content), { digest: digestOf(Buffer.from('other')) })).rejects.toMatchObject({
    code: 'digest-mismatch',
  });
  await expect(store.writeExpected(stream(content), { digest: digestOf(content), size: 3 })).rejects.toMatchObject({
    code: 'digest-mismatch',
  });
  expect(leftovers(directory)).toEqual([]);
  expect(await store.writeExpected(stream(content), { digest: digestOf(content), size: 7 })).toEqual({
    digest: digestOf(content),
    size: 7,
  });
});

test('an aborted or failing write leaves nothing, and says what failed', async () => {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const hanging = new PassThrough();
  hanging.write('begin');
  const stop = new AbortController();
  const written = store.write(hanging, { signal: stop.signal });
  setTimeout(() => stop.abort(), 30);
  await expect(written).rejects.toMatchObject({ code: 'aborted' });
  const failing = Readable.from(
    (async function* () {
      yield Buffer.from('begin');
      throw new Error('the source broke');
    })(),
  );
  await expect(store.write(failing)).rejects.toThrow('the source broke');
  expect(leftovers(directory)).toEqual([]);
});

test('what a crash left unfinished is gone at the next opening; complete blobs stay', async () => {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const { digest } = await store.write(stream(Buffer.from('kept')));
  writeFileSync(join(directory, 'uploads', 'half'), 'half');
  mkdirSync(join(directory, 'uploads', 'odd'));
  const again = await BlobStore.open(directory);
  expect(leftovers(directory)).toEqual([digest.slice(7)]);
  expect((await buffer(again.read(digest))).toString()).toBe('kept');
});

test('damage on disk is found', async () => {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const { digest } = await store.write(stream(Buffer.alloc(100, 1)));
  const path = join(directory, 'blobs', 'sha256', digest.slice(7));
  const content = readFileSync(path);
  content[50] = 2;
  writeFileSync(path, content);
  await expect(store.verify(digest)).rejects.toMatchObject({ code: 'digest-mismatch', message: expect.stringContaining('damaged') });
});

test('damage after it was found sound is found too', async () => {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const { digest } = await store.write(stream(Buffer.alloc(100, 1)));
  await store.verify(digest);
  const path = join(directory, 'blobs', 'sha256', digest.slice(7));
  writeFileSync(path, Buffer.alloc(100, 2));
  await expect(store.verify(digest)).rejects.toMatchObject({ code: 'digest-mismatch' });
});

test("what came a moment ago with the sender's checksum is read when somebody wrote to it since", async () => {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const content = Buffer.alloc(100, 1);
  const upload = await store.createUpload();
  await upload.append(stream(content));
  const { digest } = upload;
  // Another than the content's, so that it shows whether it was compared.
  await upload.commit({ digest, crc32: 1 });
  expect(await store.verify(digest)).toEqual({ digest, size: 100 });
  const path = join(directory, 'blobs', 'sha256', digest.slice(7));
  utimesSync(path, new Date(), new Date(Date.now() - 1000));
  await expect(store.verify(digest)).rejects.toMatchObject({ code: 'digest-mismatch', message: expect.stringContaining('instead of 1') });
});

test('a digest from outside is never a path', async () => {
  const store = await BlobStore.open(cleanup.directory());
  for (const digest of ['sha256:../../../etc/passwd', '../x', '', `sha256:${'A'.repeat(64)}`]) {
    expect(() => store.read(digest)).toThrow(/not a sha256 digest/);
    await expect(store.stat(digest)).rejects.toMatchObject({ code: 'protocol' });
  }
});

const disk = smallDisk(512 * 1024);
if ('skip' in disk) test.skip(`a full disk (skipped: ${disk.skip})`, () => undefined);
else {
  afterAll(() => disk.remove());
  test('a full disk is said to be one, and the room is free again', async () => {
    const store = await BlobStore.open(disk.path);
    await expect(store.write(stream(Buffer.alloc(2_000_000, 1)))).rejects.toMatchObject({
      code: 'no-space',
      message: expect.stringContaining('no space left'),
    });
    expect(leftovers(disk.path)).toEqual([]);
    await store.write(stream(Buffer.alloc(300_000, 1)));
  });
}
