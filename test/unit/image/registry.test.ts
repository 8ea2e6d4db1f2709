import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import { BlobStore } from '../../../src/image/blob-store.ts';
import { pushCheckpointImage } from '../../../src/image/checkpoint-image.ts';
import { digestOf } from '../../../src/image/digest.ts';
import { ImageError } from '../../../src/image/errors.ts';
import { mediaTypes } from '../../../src/image/media-types.ts';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { Cleanup, smallDisk, startRegistry, until } from './fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function start(options: Parameters<typeof startRegistry>[1] = {}) {
  const served = await startRegistry(cleanup, options);
  const client = cleanup.client(new RegistryClient({ registry: served.registry, scheme: 'http' }));
  const url = (path: string) => `http://${served.registry}${path}`;
  const leftovers = () => readdirSync(join(served.directory, 'uploads'));
  return { ...served, client, url, leftovers };
}

/** A stream in chunks of many sizes. */
function pieces(content: Buffer): Readable {
  return Readable.from(
    (function* () {
      for (let at = 0, size = 1; at < content.length; at += size, size = (size * 7 + 13) % 200_000) yield content.subarray(at, at + size);
    })(),
    { objectMode: false },
  );
}

describe('client and registry', () => {
  test('a blob goes up as a stream and comes back', async () => {
    const { client, leftovers } = await start();
    await client.ping();
    const content = randomBytes(5_000_000);
    const progress: number[] = [];
    const info = await client.uploadBlob('a/b', pieces(content), { onProgress: (bytes) => progress.push(bytes) });
    expect(info).toEqual({ digest: digestOf(content), size: content.length });
    expect(progress.at(-1)).toBe(content.length);
    expect(await client.headBlob('a/b', info.digest)).toEqual({ size: content.length });
    const { stream, size } = await client.getBlob('a/b', info.digest);
    expect(size).toBe(content.length);
    expect((await buffer(stream)).equals(content)).toBe(true);
    expect(leftovers()).toEqual([]);
    const missing = digestOf(Buffer.from('missing'));
    expect(await client.headBlob('a/b', missing)).toBeUndefined();
    await expect(client.getBlob('a/b', missing)).rejects.toMatchObject({
      code: 'not-found',
      status: 404,
      message: expect.stringMatching(/fetching blob sha256:.* of a\/b: 404: BLOB_UNKNOWN/),
    });
  });

  test('an empty blob', async () => {
    const { client } = await start();
    const info = await client.uploadBlob('a', Readable.from([]));
    expect(info).toEqual({ digest: digestOf(Buffer.alloc(0)), size: 0 });
    expect((await buffer((await client.getBlob('a', info.digest)).stream)).length).toBe(0);
  });

  test('manifests by tag and digest; what they refer to must be there', async () => {
    const { client } = await start();
    const config = await client.putBlob('a', Buffer.from('{}'));
    const body = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [] }));
    const digest = await client.putManifest('a', 'v1', body, mediaTypes.manifest);
    expect(await client.getManifest('a', 'v1')).toEqual({ body, mediaType: mediaTypes.manifest, digest });
    expect(await client.getManifest('a', digest)).toEqual({ body, mediaType: mediaTypes.manifest, digest });
    expect(await client.getManifest('a', 'v2')).toBeUndefined();
    const dangling = Buffer.from(
      JSON.stringify({ mediaType: mediaTypes.manifest, config, layers: [{ digest: digestOf(Buffer.from('gone')) }] }),
    );
    await expect(client.putManifest('a', 'v2', dangling, mediaTypes.manifest)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('MANIFEST_BLOB_UNKNOWN'),
    });
    await expect(client.putManifest('a', 'v2', Buffer.from('no JSON'), mediaTypes.manifest)).rejects.toMatchObject({ status: 400 });
    await expect(client.putManifest('a', 'v2', Buffer.alloc(5_000_000, 32), mediaTypes.manifest)).rejects.toMatchObject({
      code: 'too-large',
    });
    await expect(client.deleteManifest('a', digest)).rejects.toMatchObject({ status: 405 });
  });

  test('a repository that does not take pushes looks as if it were not there', async () => {
    const { client } = await start();
    const source = new PassThrough();
    await expect(client.uploadBlob('denied', source)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('NAME_UNKNOWN'),
    });
    expect(source.destroyed).toBe(true);
  });

  test('aborting an upload leaves nothing', async () => {
    const { client, leftovers, store } = await start();
    const source = new PassThrough();
    source.write(Buffer.alloc(100_000));
    const stop = new AbortController();
    const uploaded = client.uploadBlob('a', source, { signal: stop.signal });
    await until(() => leftovers().length === 1);
    stop.abort();
    await expect(uploaded).rejects.toMatchObject({ code: 'aborted' });
    expect(source.destroyed).toBe(true);
    await until(async () => leftovers().length === 0 && (await store.usage()) === 0);
  });

  test('a failing source fails the upload with its own error, and leaves nothing', async () => {
    const { client, leftovers, store } = await start();
    const failing = Readable.from(
      (async function* () {
        yield Buffer.alloc(100_000);
        await sleep(20);
        throw Object.assign(new Error('the archive is truncated'), { code: 'truncated' });
      })(),
    );
    await expect(client.uploadBlob('a', failing)).rejects.toMatchObject({ code: 'truncated', message: 'the archive is truncated' });
    const early = new PassThrough();
    early.destroy(new Error('gone before it began'));
    await expect(client.uploadBlob('a', early)).rejects.toThrow('gone before it began');
    const closed = new PassThrough();
    setTimeout(() => closed.destroy(), 30);
    await expect(client.uploadBlob('a', closed)).rejects.toMatchObject({ code: 'aborted' });
    await until(async () => leftovers().length === 0 && (await store.usage()) === 0);
  });

  test('uploads that rest are dropped', async () => {
    const { url, leftovers } = await start({ uploadIdleMs: 50 });
    const begun = await request(url('/v2/a/blobs/uploads/'), { method: 'POST' });
    await begun.body.dump();
    expect(leftovers()).toHaveLength(1);
    await until(() => leftovers().length === 0);
    const late = await request(new URL(String(begun.headers.location), url('/')), { method: 'PATCH', body: 'x' });
    expect(late.statusCode).toBe(404);
    await late.body.dump();
  });

  test('damaged content on the way down is seen before the end', async () => {
    const { client, backend, store } = await start();
    const right = await store.write(Readable.from([Buffer.alloc(300_000, 1)]));
    const wrong = Buffer.alloc(300_000, 2);
    backend.openBlob = async () => ({ size: wrong.length, stream: () => Readable.from([wrong]) });
    const { stream } = await client.getBlob('a', right.digest);
    let ended = false;
    stream.on('end', () => {
      ended = true;
    });
    await expect(buffer(stream)).rejects.toMatchObject({ code: 'digest-mismatch' });
    expect(ended).toBe(false);
  });

  test('content that breaks off on the way down is no end', async () => {
    const errors: unknown[] = [];
    const { client, backend } = await start({ onError: (error) => errors.push(error) });
    const broken = async function* () {
      yield Buffer.alloc(1000);
      throw new Error('disk broke');
    };
    backend.openBlob = async () => ({ size: 300_000, stream: () => Readable.from(broken()) });
    const { stream } = await client.getBlob('a', digestOf(Buffer.from('x')));
    await expect(buffer(stream)).rejects.toMatchObject({
      name: 'ImageError',
      code: 'unreachable',
      message: expect.stringContaining('fetching blob'),
    });
    expect(errors).toEqual([expect.objectContaining({ message: 'disk broke' })]);
  });

  test('nobody at home, and an answer that never comes', async () => {
    const nobody = cleanup.client(new RegistryClient({ registry: '127.0.0.1:1', scheme: 'http' }));
    await expect(nobody.ping()).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/http:\/\/127.0.0.1:1.*ECONNREFUSED/),
    });
    const silent = await cleanup.serve(() => undefined);
    const client = cleanup.client(new RegistryClient({ registry: silent, scheme: 'http', timeouts: { headersMs: 100 } }));
    await expect(client.ping()).rejects.toMatchObject({ code: 'unreachable', message: expect.stringContaining('TIMEOUT') });
    const patient = cleanup.client(new RegistryClient({ registry: silent, scheme: 'http' }));
    await expect(patient.ping({ signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ code: 'aborted' });
  });

  const disk = smallDisk(256 * 1024);
  if ('skip' in disk) test.skip(`a full disk at the registry (skipped: ${disk.skip})`, () => undefined);
  else {
    afterAll(() => disk.remove());
    test('a full disk at the registry reaches the pusher by name', async () => {
      const { client, backend } = await start();
      const small = await BlobStore.open(disk.path);
      backend.uploads.create = () => small.createUpload();
      await expect(client.uploadBlob('a', pieces(randomBytes(5_000_000)))).rejects.toMatchObject({ code: 'no-space', status: 507 });
      await until(() => readdirSync(join(disk.path, 'uploads')).length === 0);
    });
  }
});

describe('the registry as others use it', () => {
  const accept =
    'application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*';

  test("containerd's resolver: HEAD and GET of a manifest, then blobs in ranges", async () => {
    const { client, url } = await start();
    const content = Buffer.from('0123456789');
    const layer = await client.putBlob('tok', content);
    const body = Buffer.from(JSON.stringify({ mediaType: mediaTypes.manifest, config: layer, layers: [layer] }));
    const digest = await client.putManifest('tok', 'latest', body, mediaTypes.manifest);
    for (const reference of ['latest', digest]) {
      for (const method of ['HEAD', 'GET'] as const) {
        const answer = await request(url(`/v2/tok/manifests/${reference}?ns=docker.io`), { method, headers: { accept } });
        expect(answer.statusCode).toBe(200);
        expect(answer.headers).toMatchObject({
          'content-type': mediaTypes.manifest,
          'docker-content-digest': digest,
          'content-length': String(body.length),
        });
        expect(await answer.body.text()).toBe(method === 'HEAD' ? '' : body.toString());
      }
    }
    const ranged = async (range: string, method: 'GET' | 'HEAD' = 'GET') => {
      const answer = await request(url(`/v2/tok/blobs/${layer.digest}`), { method, headers: { range } });
      return [
        answer.statusCode,
        answer.headers['content-range'],
        answer.headers['content-length'],
        answer.statusCode === 416 ? '' : await answer.body.text(),
      ];
    };
    expect(await ranged('bytes=0-')).toEqual([206, 'bytes 0-9/10', '10', '0123456789']);
    expect(await ranged('bytes=3-5')).toEqual([206, 'bytes 3-5/10', '3', '345']);
    expect(await ranged('bytes=7-100')).toEqual([206, 'bytes 7-9/10', '3', '789']);
    expect(await ranged('bytes=-2')).toEqual([206, 'bytes 8-9/10', '2', '89']);
    expect((await ranged('bytes=10-'))[0]).toBe(416);
    expect(await ranged('bytes=0-1,3-4')).toEqual([200, undefined, '10', '0123456789']);
    expect(await ranged('bytes=2-4', 'HEAD')).toEqual([206, 'bytes 2-4/10', '3', '']);
  });

  test('nothing is listed, and odd requests get an error in the specified form', async () => {
    const { url } = await start();
    const ask = async (path: string, options: Parameters<typeof request>[1] = {}) => {
      const answer = await request(url(path), options);
      return { status: answer.statusCode, body: (await answer.body.json().catch(() => undefined)) as { errors: { code: string }[] } };
    };
    expect(await ask('/v2/_catalog')).toMatchObject({ status: 404, body: { errors: [{ code: 'UNSUPPORTED' }] } });
    expect((await ask('/v2/a/tags/list')).status).toBe(404);
    expect((await ask('/')).status).toBe(404);
    expect(await ask('/v2/A/manifests/x')).toMatchObject({ status: 400, body: { errors: [{ code: 'NAME_INVALID' }] } });
    expect(await ask('/v2/a/../b/blobs/sha256:1')).toMatchObject({ status: 400, body: { errors: [{ code: 'DIGEST_INVALID' }] } });
    expect((await ask('/v2/a/blobs/sha256:..%2F..%2Fetc')).status).toBe(400);
    expect((await ask('/v2/a/manifests/x', { method: 'DELETE' })).status).toBe(405);
    expect((await ask('/v2/a/blobs/uploads/unknown', { method: 'PATCH', body: 'x' })).status).toBe(404);
  });

  test('an upload in one POST, in one PUT, in chunks; a wrong digest is refused and dropped', async () => {
    const { url, leftovers, store } = await start();
    const content = Buffer.from('content');
    const digest = digestOf(content);
    const one = await request(url(`/v2/a/blobs/uploads/?digest=${digest}`), { method: 'POST', body: content });
    expect([one.statusCode, one.headers.location]).toEqual([201, `/v2/a/blobs/${digest}`]);
    await one.body.dump();
    const begin = async () => {
      const answer = await request(url('/v2/a/blobs/uploads/'), { method: 'POST' });
      await answer.body.dump();
      return url(String(answer.headers.location));
    };
    const send = async (target: string, options: Parameters<typeof request>[1]) => {
      const answer = await request(target, options);
      await answer.body.dump();
      return answer.statusCode;
    };
    expect(await send(`${await begin()}?digest=${digest}`, { method: 'PUT', body: content })).toBe(201);
    const chunks = await begin();
    expect(await send(chunks, { method: 'PATCH', body: 'con', headers: { 'content-range': '0-2' } })).toBe(202);
    expect(await send(chunks, { method: 'PATCH', body: 'x', headers: { 'content-range': '9-9' } })).toBe(416);
    expect(await send(chunks, { method: 'PATCH', body: 'te', headers: { 'content-range': '3-4' } })).toBe(202);
    expect(await send(`${chunks}?digest=${digest}`, { method: 'PUT', body: 'nt' })).toBe(201);
    await store.remove(digest);
    const wrong = await begin();
    expect(await send(`${wrong}?digest=${digest}`, { method: 'PUT', body: 'other' })).toBe(400);
    expect(await send(wrong, { method: 'PATCH', body: 'x' })).toBe(404);
    expect(leftovers()).toEqual([]);
    expect(await store.usage()).toBe(0);
    const another = await begin();
    expect(await send(another.replace('/v2/a/', '/v2/b/'), { method: 'DELETE' })).toBe(404);
    expect(await send(another, { method: 'DELETE' })).toBe(204);
  });

  test('a manifest may be held back until it is ready; a client that leaves is noticed', async () => {
    const { client, backend } = await start();
    let left = false;
    backend.resolveManifest = (_repository, _reference, ...rest) => {
      const [{ signal }] = rest as unknown as [{ signal: AbortSignal }];
      return new Promise((_done, fail) => {
        signal.addEventListener('abort', () => {
          left = true;
          fail(signal.reason);
        });
      });
    };
    await expect(client.getManifest('a', 'b', { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ code: 'aborted' });
    await until(() => left);
  });
});

describe('checkpoint images', () => {
  test('are pushed in one pass, with both annotations, and copied into a store', async () => {
    const { client } = await start();
    const content = randomBytes(1_000_000);
    const pushed = await pushCheckpointImage(client, {
      repository: 'tok/app',
      tag: 'v1',
      containerName: 'counter',
      archive: pieces(content),
      annotations: { 'podferry.io/pod': 'counter-0' },
    });
    expect(pushed).toMatchObject({ layerDigest: digestOf(content), layerBytes: content.length });
    const manifest = JSON.parse(String((await client.getManifest('tok/app', 'v1'))?.body));
    expect(manifest).toEqual({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: pushed.configDigest, size: expect.any(Number) },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: pushed.layerDigest, size: content.length }],
      annotations: {
        'org.criu.checkpoint.container.name': 'counter',
        'io.kubernetes.cri-o.annotations.checkpoint.name': 'counter',
        'podferry.io/pod': 'counter-0',
      },
    });
    const config = JSON.parse((await buffer((await client.getBlob('tok/app', pushed.configDigest)).stream)).toString());
    expect(config).toMatchObject({
      os: 'linux',
      architecture: expect.stringMatching(/^(amd64|arm64|s390x|ppc64le|riscv64)$/),
      rootfs: { type: 'layers', diff_ids: [pushed.layerDigest] },
    });
  });

  test('an archive that fails never becomes an image', async () => {
    const { client } = await start();
    const failing = Readable.from(
      (async function* () {
        yield Buffer.alloc(100_000);
        throw new ImageError('protocol', 'bad archive');
      })(),
    );
    await expect(pushCheckpointImage(client, { repository: 'a', tag: 'v1', containerName: 'c', archive: failing })).rejects.toThrow(
      'bad archive',
    );
    expect(await client.getManifest('a', 'v1')).toBeUndefined();
  });
});
