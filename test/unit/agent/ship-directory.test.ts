import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { packWithoutPages } from '../../../src/agent/ship-changes.ts';
import { shipPages } from '../../../src/agent/ship-directory.ts';
import type { Pages } from '../../../src/archive/directory.ts';
import type { AppendedSource } from '../../../src/image/appended.ts';
import { digestOf } from '../../../src/image/digest.ts';
import type { RegistryClient } from '../../../src/image/registry-client.ts';
import { TokenBucket } from '../../../src/util/pace.ts';
import { Cleanup, until } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Memory of a pod of which nothing was sent ahead. */
const alone = (own: Pages) => ({ own, parent: new Map(), inArchive: [] });

/** Takes blobs, and remembers them. */
class FakeClient {
  readonly blobs: string[] = [];
  atOnce = 0;
  most = 0;
  refuse: string | undefined;

  async uploadAppended(
    _repository: string,
    source: AppendedSource,
    { onProgress, signal }: { onProgress?: (bytes: number) => void; signal?: AbortSignal } = {},
  ) {
    this.most = Math.max(this.most, ++this.atOnce);
    try {
      const pieces: Buffer[] = [];
      for (let position = 0, length = 0; ; position += length) {
        length = await source.available(position, signal);
        if (length === 0) break;
        const piece = Buffer.alloc(length);
        await source.read(piece, position);
        pieces.push(piece);
      }
      const content = Buffer.concat(pieces);
      if (content.toString() === this.refuse) throw new Error('no route');
      onProgress?.(content.length);
      this.blobs.push(content.toString());
      return { digest: digestOf(content), size: content.length };
    } finally {
      this.atOnce--;
    }
  }
}

async function start() {
  const directory = cleanup.directory();
  const images = join(directory, 'checkpoint');
  await mkdir(images);
  const client = new FakeClient();
  const sent: number[] = [];
  const stop = new AbortController();
  const { promise: whole, resolve, reject } = Promise.withResolvers<void>();
  const route = {
    client: client as unknown as RegistryClient,
    repository: 't/app',
    flow: { progress: (bytes: number) => void sent.push(bytes), pace: new TokenBucket() },
    signal: stop.signal,
    readAgain: false,
  };
  return { directory, images, client, sent, stop, whole, resolve, reject, pages: shipPages(directory, whole, route) };
}

test('memory is sent while it is written, files that come later too', async () => {
  const { images, client, sent, resolve, pages } = await start();
  await writeFile(join(images, 'pages-1.img'), 'one ');
  await until(() => client.atOnce === 1);
  await writeFile(join(images, 'pages-2.img'), 'second');
  await appendFile(join(images, 'pages-1.img'), 'more');
  await writeFile(join(images, 'core-1.img'), 'not memory');
  resolve();
  const found = await pages;
  expect([...found.keys()].sort()).toEqual(['pages-1.img', 'pages-2.img']);
  expect(found.get('pages-1.img')).toEqual({ digest: digestOf(Buffer.from('one more')), size: 8 });
  expect(client.blobs.toSorted()).toEqual(['one more', 'second']);
  expect(sent.at(-1)).toBe(14);
});

test('many files go a few at a time', async () => {
  const { images, client, resolve, pages } = await start();
  for (let id = 1; id <= 11; id++) await writeFile(join(images, `pages-${id}.img`), `memory ${id}`);
  await until(() => client.atOnce === 4);
  resolve();
  expect((await pages).size).toBe(11);
  expect(client.most).toBe(4);
});

test('an upload that fails ends the others', async () => {
  const { images, client, resolve, pages } = await start();
  client.refuse = 'bad';
  await writeFile(join(images, 'pages-1.img'), 'bad');
  await writeFile(join(images, 'pages-2.img'), 'good');
  resolve();
  await expect(pages).rejects.toThrow('no route');
  expect(client.atOnce).toBe(0);
});

test('a checkpoint that fails ends the uploads, with its error', async () => {
  const { images, client, reject, pages } = await start();
  await writeFile(join(images, 'pages-1.img'), 'half');
  await until(() => client.atOnce === 1);
  reject(new Error('CRIU gave up'));
  await expect(pages).rejects.toThrow('CRIU gave up');
  expect(client.atOnce).toBe(0);
});

test('a stop ends them', async () => {
  const { images, client, stop, pages } = await start();
  await writeFile(join(images, 'pages-1.img'), 'half');
  await until(() => client.atOnce === 1);
  stop.abort(new Error('lease'));
  await expect(pages).rejects.toThrow(/lease|aborted/);
  expect(client.atOnce).toBe(0);
});

test('memory that is shorter than its page map says is found out', async () => {
  const { images, resolve, pages } = await start();
  const word = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];
  // Two pages in pages-1.img.
  const pagemap = [...word(0x54564319), ...word(0x56084025), ...word(2), 8, 1, ...word(6), 8, 1, 16, 2, 32, 4];
  await writeFile(join(images, 'pagemap-1.img'), Buffer.from(pagemap));
  await writeFile(join(images, 'pages-1.img'), Buffer.alloc(4096));
  resolve();
  await expect(pages).rejects.toThrow('pages-1.img of the checkpoint has 4096 bytes, CRIU wrote 8192');
});

test('the archive names where the memory lies on the destination', async () => {
  const { directory, images, resolve, pages } = await start();
  await writeFile(join(images, 'pages-1.img'), 'memory');
  resolve();
  const archive = await buffer(await packWithoutPages(directory, pages.then(alone), '/var/lib/podferry/content/uid/blobs/sha256'));
  const digest = digestOf(Buffer.from('memory')).slice('sha256:'.length);
  expect(archive.includes(`pages-1.img /var/lib/podferry/content/uid/blobs/sha256/${digest}\n`)).toBe(true);
  expect(archive.includes('memory')).toBe(false);
});

test('the archive is on its way before all of the memory is there', async () => {
  const { directory, images, resolve: end, pages: shipped } = await start();
  await writeFile(join(images, 'core-1.img'), 'registers');
  await writeFile(join(images, 'pages-1.img'), 'memory');
  end();
  await shipped;
  const { promise: pages, resolve } = Promise.withResolvers<Pages>();
  const read: Buffer[] = [];
  const reading = (async () => {
    for await (const chunk of await packWithoutPages(directory, pages.then(alone), '/content')) read.push(chunk as Buffer);
  })();
  await until(() => Buffer.concat(read).includes('registers'));
  expect(Buffer.concat(read).includes('/content')).toBe(false);
  resolve(new Map([['pages-1.img', { digest: 'sha256:abc', size: 6 }]]));
  await reading;
  expect(Buffer.concat(read).includes('pages-1.img /content/abc\n')).toBe(true);
});

test('an archive whose memory does not get through fails with it', async () => {
  const { directory, resolve, pages: shipped } = await start();
  resolve();
  await shipped;
  const { promise: pages, reject } = Promise.withResolvers<Pages>();
  const archive = buffer(await packWithoutPages(directory, pages.then(alone), '/content'));
  reject(new Error('no route'));
  await expect(archive).rejects.toThrow('no route');
});
