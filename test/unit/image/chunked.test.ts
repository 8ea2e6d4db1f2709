import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobStore } from '../../../src/image/blob-store.ts';
import { pushCheckpointImage } from '../../../src/image/checkpoint-image.ts';
import { fetchChunked, removeAll } from '../../../src/image/chunked-fetch.ts';
import { ChunkedTransfers, ChunkedUploader } from '../../../src/image/chunked-upload.ts';
import { chunkBytes, tagOf } from '../../../src/image/chunks.ts';
import { digestOf } from '../../../src/image/digest.ts';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { growing } from './appended-fixtures.ts';
import { Distribution } from './distribution.ts';
import { Cleanup, until } from './fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const never = new AbortController().signal;
const small = (content: Buffer) => Readable.from([content]);

async function start() {
  const registry = new Distribution();
  const host = await cleanup.serve(registry.listener);
  const client = cleanup.client(new RegistryClient({ registry: host, scheme: 'http' }));
  const shared = new ChunkedTransfers();
  const uploader = new ChunkedUploader(client, shared);
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const fetched = (repository = 'tok/app', signal = never) =>
    fetchChunked({ client, repository, reference: 'restore' }, store, { signal, slots: shared.slots });
  const push = (archive: Buffer, repository = 'tok/app', by = uploader) =>
    pushCheckpointImage(by, { repository, tag: 'restore', containerName: 'app', archive: small(archive) });
  const stored = (digest: string) => readFileSync(join(directory, 'blobs/sha256', digest.replace('sha256:', '')));
  /** Manifests of blobs, and such small things, are not chunks. */
  const chunksSent = () => registry.sent.filter((bytes) => bytes > 10_000).length;
  return { registry, client, shared, uploader, store, directory, fetched, push, stored, chunksSent };
}

test('an image and its memory go up in chunks, and come down as they were', async () => {
  const { registry, uploader, store, fetched, push, stored } = await start();
  const memory = randomBytes(3 * chunkBytes + 12_345);
  const progress: number[] = [];
  const sent = await uploader.uploadAppended('tok/app', growing(memory, memory.length), { onProgress: (bytes) => progress.push(bytes) });
  expect(sent).toMatchObject({ digest: digestOf(memory), size: memory.length });
  expect(progress.at(-1)).toBe(memory.length);
  const archive = randomBytes(100_000);
  const pushed = await push(archive);
  expect(pushed).toMatchObject({ layerDigest: digestOf(archive), layerBytes: archive.length });
  expect(registry.tags('tok/app')).toEqual(['restore', tagOf(digestOf(memory)), tagOf(digestOf(archive))].sort());
  expect(Math.max(...registry.sent)).toBeLessThan(chunkBytes * 1.02);

  // What source and destination call it is what the kubelet will get: the image as if it had never been cut.
  expect(await fetched()).toBe(pushed.manifestDigest);
  for (const digest of [pushed.manifestDigest, pushed.configDigest, pushed.layerDigest, sent.digest]) await store.verify(digest);
  expect(stored(sent.digest).equals(memory)).toBe(true);
  expect(stored(pushed.layerDigest).equals(archive)).toBe(true);
  expect(JSON.parse(stored(pushed.manifestDigest).toString())).toMatchObject({
    annotations: { 'org.criu.checkpoint.container.name': 'app' },
    layers: [{ digest: pushed.layerDigest, size: archive.length }],
  });
});

test('several chunks at the same time, and no more than there may be', async () => {
  const { registry, uploader } = await start();
  registry.before = async ({ method }) => {
    if (method === 'PUT') await sleep(30);
    return false;
  };
  await Promise.all(['a', 'b'].map((name) => uploader.uploadBlob(name, Readable.from([randomBytes(6 * chunkBytes)]))));
  expect(registry.most).toBeGreaterThan(1);
  expect(registry.most).toBeLessThanOrEqual(4);
});

test('what is there already is not sent: a try after one that broke off, by another process', async () => {
  const { registry, client, chunksSent, push } = await start();
  const archive = randomBytes(5 * chunkBytes);
  let puts = 0;
  registry.before = async ({ method, url }, response) => {
    const chunk = method === 'PUT' && url?.includes('/blobs/uploads/') === true;
    if (!chunk || ++puts <= 3) return false;
    await until(() => chunksSent() === 3);
    response.writeHead(403).end();
    return true;
  };
  await expect(push(archive)).rejects.toMatchObject({ code: 'denied' });
  expect(chunksSent()).toBe(3);
  registry.before = () => false;
  await push(archive, 'tok/app', new ChunkedUploader(client, new ChunkedTransfers()));
  expect(chunksSent()).toBe(5);
});

test('a connection that breaks costs a chunk, not the blob', async () => {
  const { registry, fetched, push, chunksSent } = await start();
  const archive = randomBytes(3 * chunkBytes);
  let broken = 0;
  registry.before = (request) => {
    if (request.method !== 'PUT' || !request.url?.includes('/blobs/uploads/') || broken >= 2) return false;
    broken++;
    request.socket.destroy();
    return true;
  };
  const { manifestDigest } = await push(archive);
  expect([broken, chunksSent()]).toEqual([2, 3]);
  let refused = 0;
  registry.before = (request, response) => {
    const size = registry.content.get(request.url?.split('/').at(-1) ?? '')?.length ?? 0;
    if (request.method !== 'GET' || size < 10_000 || refused >= 2) return false;
    refused++;
    response.writeHead(503).end();
    return true;
  };
  expect(await fetched()).toBe(manifestDigest);
  expect(refused).toBe(2);
});

test('a registry that was started anew, and knows nothing of an upload that it had begun', async () => {
  const { registry, push, fetched } = await start();
  let forgotten = 0;
  registry.before = ({ method, url }, response) => {
    if (method !== 'PUT' || !url?.includes('/blobs/uploads/') || forgotten >= 1) return false;
    forgotten++;
    response.writeHead(404).end(JSON.stringify({ errors: [{ code: 'BLOB_UPLOAD_UNKNOWN' }] }));
    return true;
  };
  const { manifestDigest } = await push(randomBytes(chunkBytes));
  expect(forgotten).toBe(1);
  expect(await fetched()).toBe(manifestDigest);
});

describe('from another repository', () => {
  test('it is mounted', async () => {
    const { registry, chunksSent, push, fetched } = await start();
    const archive = randomBytes(2 * chunkBytes + 5);
    await push(archive, 'first/app');
    const before = chunksSent();
    const { manifestDigest } = await push(archive, 'second/app');
    expect(chunksSent()).toBe(before);
    expect(registry.asked.filter((line) => line.includes('from=first%2Fapp')).length).toBeGreaterThan(2);
    expect(await fetched('second/app')).toBe(manifestDigest);
  });

  test.each([401, 403, 404])('it is sent where the registry refuses to mount it (%i)', async (status) => {
    const { registry, chunksSent, push, fetched } = await start();
    const archive = randomBytes(2 * chunkBytes);
    await push(archive, 'first/app');
    registry.before = ({ url }, response) => {
      if (!url?.includes('mount=')) return false;
      response.writeHead(status).end();
      return true;
    };
    const sent = chunksSent();
    const { manifestDigest } = await push(archive, 'second/app');
    expect(chunksSent()).toBe(sent * 2);
    expect(await fetched('second/app')).toBe(manifestDigest);
  });

  test('it is sent where the registry mounts nothing, into the upload that it has begun instead', async () => {
    const { registry, chunksSent, push } = await start();
    registry.mounts = false;
    const archive = randomBytes(2 * chunkBytes);
    await push(archive, 'first/app');
    const posts = () => registry.asked.filter((line) => line.startsWith('POST')).length;
    const [sent, begun] = [chunksSent(), posts()];
    await push(archive, 'second/app');
    expect(chunksSent()).toBe(sent * 2);
    expect(posts()).toBe(begun * 2);
    expect(registry.asked.filter((line) => line.startsWith('DELETE'))).toEqual([]);
  });
});

test('zeros do not travel, and the same chunk goes once', async () => {
  const { registry, uploader, push, fetched, stored } = await start();
  const memory = Buffer.concat([randomBytes(4096), Buffer.alloc(6 * chunkBytes), randomBytes(4096)]);
  const { digest, wire } = await uploader.uploadAppended('tok/app', growing(memory, memory.length));
  expect(wire).toBeLessThan(50_000);
  expect(registry.sent.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(50_000);
  await push(Buffer.from('archive'));
  await fetched();
  expect(stored(digest).equals(memory)).toBe(true);
  const twice = Buffer.alloc(chunkBytes, randomBytes(4096));
  const before = registry.sent.length;
  await uploader.uploadBlob('other', Readable.from([twice, twice, twice]));
  expect(registry.sent.slice(before).filter((bytes) => bytes > 1000)).toHaveLength(1);
});

test('content that grows is cut as it is when it is all there', async () => {
  const { client, registry, uploader, chunksSent } = await start();
  const memory = randomBytes(2 * chunkBytes + 7);
  const source = growing(memory, 10);
  const sending = uploader.uploadAppended('tok/app', source);
  for (const there of [1000, chunkBytes - 1, chunkBytes + 1, memory.length]) {
    await sleep(10);
    source.grow(there);
  }
  await sending;
  const before = chunksSent();
  await new ChunkedUploader(client, new ChunkedTransfers()).uploadBlob('tok/app', Readable.from([memory]));
  expect(chunksSent()).toBe(before);
  expect(registry.tags('tok/app')).toEqual([tagOf(digestOf(memory))]);
});

test('an empty blob', async () => {
  const { uploader, push, fetched, stored } = await start();
  const { digest } = await uploader.uploadBlob('tok/app', Readable.from([]));
  await push(Buffer.from('archive'));
  await fetched();
  expect(stored(digest)).toHaveLength(0);
});

describe('a failure', () => {
  test('of the source is what is thrown, and the image is not there', async () => {
    const { registry, uploader } = await start();
    const failing = Readable.from(
      (async function* () {
        yield randomBytes(chunkBytes + 1);
        throw Object.assign(new Error('the archive is truncated'), { code: 'truncated' });
      })(),
    );
    await expect(
      pushCheckpointImage(uploader, { repository: 'tok/app', tag: 'restore', containerName: 'app', archive: failing }),
    ).rejects.toMatchObject({ code: 'truncated' });
    expect(registry.tags('tok/app')).toEqual([]);
  });

  test('of a chunk ends the reading of a source that waits', async () => {
    const { registry, uploader } = await start();
    registry.before = ({ method }, response) => {
      if (method !== 'PUT') return false;
      response.writeHead(403).end();
      return true;
    };
    const endless = Readable.from(
      (async function* () {
        yield randomBytes(chunkBytes);
        yield randomBytes(chunkBytes);
        await new Promise(() => undefined);
      })(),
    );
    await expect(uploader.uploadBlob('tok/app', endless)).rejects.toMatchObject({ code: 'denied' });
    await until(() => endless.destroyed);
  });

  test('a stop ends both ways', async () => {
    const { registry, uploader, push, fetched, directory } = await start();
    await push(randomBytes(3 * chunkBytes));
    registry.before = ({ url }) => (url?.includes('/blobs/') ? new Promise<boolean>(() => undefined) : false);
    const stop = new AbortController();
    const both = Promise.allSettled([
      uploader.uploadBlob('other', Readable.from([randomBytes(chunkBytes)]), { signal: stop.signal }),
      fetched('tok/app', stop.signal),
    ]);
    await sleep(50);
    stop.abort(new Error('lease'));
    for (const each of await both)
      expect(each).toMatchObject({ status: 'rejected', reason: { message: expect.stringMatching(/lease|aborted|stopped/) } });
    expect(readdirSync(join(directory, 'uploads'))).toEqual([]);
  });
});

describe('what a registry has damaged or made up', () => {
  /** An image there, of which something is changed. */
  async function changed(change: (registry: Distribution, digest: string) => void) {
    const found = await start();
    const archive = randomBytes(2 * chunkBytes);
    await found.push(archive);
    change(found.registry, digestOf(archive));
    const refused = await found.fetched().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(readdirSync(join(found.directory, 'uploads'))).toEqual([]);
    expect(await found.store.stat(digestOf(archive))).toBeUndefined();
    return refused;
  }
  const manifestOf = (registry: Distribution, tag: string) => {
    const repository = registry.repository('tok/app');
    const digest = repository.tags.get(tag) ?? '';
    const document = JSON.parse(String(repository.manifests.get(digest)));
    return {
      document,
      put: () => {
        const body = Buffer.from(JSON.stringify(document));
        repository.manifests.set(digestOf(body), body);
        repository.tags.set(tag, digestOf(body));
      },
    };
  };

  test('a chunk', async () => {
    const refused = await changed((registry) => {
      for (const [digest, content] of registry.content)
        if (content.length > 10_000) registry.content.set(digest, Buffer.alloc(content.length, 1));
    });
    expect(refused).toMatchObject({ code: 'digest-mismatch' });
  });

  test('the order of chunks', async () => {
    const refused = await changed((registry, digest) => {
      const { document, put } = manifestOf(registry, tagOf(digest));
      document.layers.reverse();
      put();
    });
    expect(refused).toMatchObject({ code: 'digest-mismatch' });
  });

  test.each<[string, (document: { layers: { size: number; annotations: Record<string, string> }[] }) => void]>([
    [
      'a chunk that is too large for the memory',
      ({ layers }) => Object.assign(layers[0] ?? {}, { size: 1e9, annotations: { 'podferry.io/length': '1e9' } }),
    ],
    [
      'one that stands for more than it may',
      ({ layers }) => Object.assign(layers[0]?.annotations ?? {}, { 'podferry.io/length': '99999999999' }),
    ],
    ['a chunk less', ({ layers }) => layers.pop()],
    ['no digest', ({ layers }) => Object.assign(layers[0] ?? {}, { digest: 'none' })],
  ])('%s', async (_name, change) => {
    const refused = await changed((registry, digest) => {
      const { document, put } = manifestOf(registry, tagOf(digest));
      change(document);
      put();
    });
    expect(refused).toMatchObject({ code: 'protocol', message: expect.stringContaining('tok/app') });
  });

  test('chunks that are gone, and an image that is none', async () => {
    expect(await changed((registry, digest) => registry.repository('tok/app').tags.delete(tagOf(digest)))).toMatchObject({
      code: 'not-found',
    });
    expect(await changed((registry) => registry.repository('tok/app').tags.delete('restore'))).toMatchObject({ code: 'not-found' });
    const other = (registry: Distribution, digest: string) =>
      registry.repository('tok/app').tags.set('restore', registry.repository('tok/app').tags.get(tagOf(digest)) ?? '');
    expect(await changed(other)).toMatchObject({ code: 'protocol', message: expect.stringContaining('no image that podferry') });
  });
});

test('all of it is removed, over several pages of tags, also when there is no image', async () => {
  const { registry, client, uploader } = await start();
  for (let each = 0; each < 8; each++) await uploader.uploadBlob('tok/app', Readable.from([randomBytes(100)]));
  expect(registry.tags('tok/app')).toHaveLength(8);
  await removeAll(client, 'tok/app', never);
  expect(registry.tags('tok/app')).toEqual([]);
  await removeAll(client, 'nobody/app', never);
});

test('one that cannot be removed does not keep the others', async () => {
  const { registry, client, uploader } = await start();
  for (let each = 0; each < 3; each++) await uploader.uploadBlob('tok/app', Readable.from([randomBytes(100)]));
  const [kept] = registry.tags('tok/app');
  registry.before = ({ method, url }, response) => {
    if (method !== 'DELETE' || !url?.endsWith(registry.repository('tok/app').tags.get(kept ?? '') ?? '-')) return false;
    response.writeHead(405).end();
    return true;
  };
  await expect(removeAll(client, 'tok/app', never)).rejects.toMatchObject({ status: 405 });
  expect(registry.tags('tok/app')).toEqual([kept]);
});

test('what was fetched is not fetched again', async () => {
  const { registry, push, fetched } = await start();
  await push(randomBytes(2 * chunkBytes));
  await fetched();
  const before = registry.asked.length;
  await fetched();
  const again = registry.asked.slice(before).filter((line) => line.includes('/blobs/'));
  // Manifest and config of the image.
  expect(again).toHaveLength(2);
});
