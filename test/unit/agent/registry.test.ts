import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pullBackend, pushBackend } from '../../../src/agent/registry.ts';
import { volumesRepository } from '../../../src/agent/target.ts';
import { digestOf } from '../../../src/image/digest.ts';
import { mediaTypes } from '../../../src/image/media-types.ts';
import type { RegistryBackend } from '../../../src/image/registry-server.ts';
import { Cleanup, until } from '../image/fixtures.ts';
import { otherUid, podUid, uid } from './fakes.ts';
import { startTarget, type Target } from './target-fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const options = { signal: new AbortController().signal };
const checkpoint = Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [] }));

/** A target with both its backends, and the checkpoint image of both containers in the store. */
async function open() {
  const target = await startTarget(cleanup);
  const ports = { targets: target.keeper, runtime: target.runtime, contentOf: async () => target.store };
  const { digest } = await target.store.write(Readable.from([checkpoint]));
  const layer = await target.store.write(Readable.from([Buffer.from('memory')]));
  return {
    target,
    digest,
    layer: layer.digest,
    pull: pullBackend(ports),
    push: pushBackend(ports),
    serve: () => target.serve({ app: digest, proxy: digest }),
  };
}

const resolve = async (backend: RegistryBackend, target: Target, reference: string, part = 'app') =>
  (await backend.resolveManifest(`${target.token()}/${part}`, reference, options))?.digest;
const read = async (backend: RegistryBackend, target: Target, digest: string, range?: { start: number; end: number }) => {
  const blob = await backend.openBlob(`${target.token()}/app`, digest, options);
  return blob && (await buffer(blob.stream(range))).toString();
};

describe('what the kubelet pulls', () => {
  test('the checkpoint until the container has started from it, the base image from then on', async () => {
    const { target, digest, layer, pull, serve } = await open();
    await serve();
    expect(await pull.resolveManifest(`${target.token()}/app`, 'restore', options)).toEqual({
      body: checkpoint,
      digest,
      mediaType: mediaTypes.manifest,
    });
    expect(await read(pull, target, layer)).toBe('memory');
    await target.keeper.started(target.start());
    expect(await resolve(pull, target, 'restore')).toBe(target.base.manifest.digest);
    // The other container has not started yet.
    expect(await resolve(pull, target, 'restore', 'proxy')).toBe(digest);
  });

  test('the checkpoint ahead of the pull, for nobody in particular, while it is served and not started', async () => {
    const { target, digest, pull, serve } = await open();
    await serve();
    await until(() => target.runtime.pulls.length > 0);
    const ahead = target.runtime.pulls[0]?.split(':').at(-1) ?? '';
    expect(ahead).toMatch(/^ahead-[0-9a-f]{32}$/);
    const manifest = await pull.resolveManifest(`${target.token()}/app`, ahead, options);
    const { annotations, ...document } = JSON.parse(String(manifest?.body));
    expect(document).toEqual(JSON.parse(String(checkpoint)));
    expect(annotations).toEqual({ 'podferry.io/ahead': ahead });
    // The real one has to be asked for by its pod, also by its digest, which others may know.
    expect(manifest?.digest).not.toBe(digest);
    expect(await resolve(pull, target, manifest?.digest ?? '')).toBe(manifest?.digest);
    target.runtime.sandbox = undefined;
    expect(await resolve(pull, target, digest)).toBeUndefined();
    expect(await resolve(pull, target, 'ahead-00000000000000000000000000000000')).toBeUndefined();
    expect((await target.written())?.servedTo).toBeUndefined();
    await target.keeper.started(target.start());
    expect(await resolve(pull, target, ahead)).toBeUndefined();
    await target.set('Committed');
    expect(await resolve(pull, target, ahead, 'proxy')).toBeUndefined();
  });

  test("the base image by digest, whole and in parts, from the runtime's own store", async () => {
    const { target, pull, serve } = await open();
    await serve();
    const { manifest, layer } = target.base;
    expect(await pull.resolveManifest(`${target.token()}/app`, manifest.digest, options)).toMatchObject({
      digest: manifest.digest,
      mediaType: mediaTypes.manifest,
    });
    expect(await read(pull, target, layer.digest)).toBe('the layer of the base image');
    expect(await read(pull, target, layer.digest, { start: 4, end: 8 })).toBe('layer');
  });

  test('after the commit only the base image', async () => {
    const { target, digest, layer, pull, serve } = await open();
    await serve();
    await target.set('Committed');
    expect(await resolve(pull, target, 'restore')).toBe(target.base.manifest.digest);
    expect(await resolve(pull, target, digest)).toBeUndefined();
    expect(await read(pull, target, layer)).toBeUndefined();
    expect(await read(pull, target, target.base.layer.digest)).toBe('the layer of the base image');
  });

  test('not before it is served', async () => {
    const { target, digest, layer, pull } = await open();
    await target.set('Prepared');
    expect(await resolve(pull, target, 'restore')).toBeUndefined();
    for (const part of ['app', 'proxy']) await target.keeper.received(uid, part, digest);
    expect(target.keeper.view(uid).state).toBe('Complete');
    expect(await resolve(pull, target, 'restore')).toBeUndefined();
    expect(await resolve(pull, target, digest)).toBeUndefined();
    expect(await read(pull, target, layer)).toBeUndefined();
  });

  test('nothing of the memory once it is revoked', async () => {
    const { target, digest, layer, pull, serve } = await open();
    await serve();
    await target.set('Revoked');
    expect(await resolve(pull, target, 'restore')).toBeUndefined();
    expect(await resolve(pull, target, digest)).toBeUndefined();
    expect(await read(pull, target, layer)).toBeUndefined();
  });

  // The base image by digest is served in every state. A kubelet that has pulled the checkpoint before it was revoked needs it to
  // restore; refused, it could not any more.
  test('nothing at all once it is revoked', async () => {
    const { target, pull, serve } = await open();
    await serve();
    await target.set('Revoked');
    expect(await resolve(pull, target, target.base.manifest.digest)).toBeUndefined();
    expect(await read(pull, target, target.base.layer.digest)).toBeUndefined();
  });

  test('what the runtime has lost, or never had, is not there', async () => {
    const { target, pull, serve } = await open();
    await serve();
    const unknown = digestOf(Buffer.from('unknown'));
    expect(await resolve(pull, target, unknown)).toBeUndefined();
    expect(await resolve(pull, target, 'latest')).toBeUndefined();
    expect(await read(pull, target, unknown)).toBeUndefined();
  });

  test('an index without a media type is known by what it holds', async () => {
    const { target, pull } = await open();
    const index = target.runtime.store(JSON.stringify({ schemaVersion: 2, manifests: [] }));
    await target.set('Prepared', { containers: [{ name: 'app', baseImage: `x@${index.digest}` }] });
    expect(await pull.resolveManifest(`${target.token()}/app`, index.digest, options)).toMatchObject({ mediaType: mediaTypes.index });
  });

  test('the volumes are filled before a checkpoint is handed out', async () => {
    const { target, digest, pull } = await open();
    await target.set('Prepared', { volumes: ['cache'] });
    for (const part of ['app', 'proxy', volumesRepository]) await target.keeper.received(uid, part, digest);
    await target.set('Serving', { pod: 'web-zzzzz', volumes: ['cache'] });
    expect(await resolve(pull, target, 'restore')).toBe(digest);
    expect(target.calls).toEqual([`fill ${podUid} from ${digest}`]);
    // They themselves are nothing to pull.
    expect(await resolve(pull, target, 'restore', volumesRepository)).toBeUndefined();
  });
});

describe('the token is the right', () => {
  test('nothing without it, whatever else is known', async () => {
    const { target, digest, layer, pull, push, serve } = await open();
    await serve();
    const token = target.token();
    for (const repository of [
      'app',
      uid,
      `${uid}/app`,
      `${token.slice(1)}/app`,
      `${token}`,
      `${token}/`,
      `${token}/app/x`,
      `x/${token}/app`,
      `${token}/nobody`,
    ]) {
      expect(await pull.resolveManifest(repository, 'restore', options)).toBeUndefined();
      expect(await pull.resolveManifest(repository, digest, options)).toBeUndefined();
      expect(await pull.openBlob(repository, layer, options)).toBeUndefined();
      expect(await push.openBlob(repository, layer, options)).toBeUndefined();
      expect(await push.uploads?.accept(repository)).toBe(false);
    }
  });

  // `containers[part]` finds what every object inherits, so that this is an error of the server (500) instead of a 404.
  test('nor under the name of a property of every object', async () => {
    const { target, pull, serve } = await open();
    await serve();
    expect(await pull.resolveManifest(`${target.token()}/constructor`, digestOf(checkpoint), options)).toBeUndefined();
  });

  test('nor with that of a migration that was forgotten, or is another', async () => {
    const { target, pull, serve } = await open();
    await serve();
    const token = target.token();
    await target.keeper.set(otherUid, target.request('Prepared'), options.signal);
    expect(await pull.resolveManifest(`${target.keeper.view(otherUid).repository}/app`, 'restore', options)).toBeUndefined();
    await target.keeper.forget(uid);
    expect(await pull.resolveManifest(`${token}/app`, 'restore', options)).toBeUndefined();
  });
});

describe('what other agents push', () => {
  const whole = { patchable: false, patch: undefined };
  const manifest = { body: checkpoint, digest: digestOf(checkpoint), mediaType: mediaTypes.manifest };

  test('blobs and manifests of a migration that is prepared; with the last one it is complete', async () => {
    const { target, push } = await open();
    await target.set('Prepared');
    const uploads = push.uploads as NonNullable<typeof push.uploads>;
    for (const part of ['app', 'proxy']) {
      expect(await uploads.accept(`${target.token()}/${part}`)).toBe(true);
      const upload = await uploads.create(`${target.token()}/${part}`, whole);
      await upload.append(Readable.from([Buffer.from(part)]));
      const { digest } = await upload.commit();
      expect(await read(push, target, digest)).toBe(part);
      await uploads.putManifest(`${target.token()}/${part}`, 'restore', manifest);
    }
    expect(target.keeper.view(uid)).toMatchObject({
      state: 'Complete',
      containers: [{ digest: manifest.digest }, { digest: manifest.digest }],
    });
    expect(await target.store.stat(manifest.digest)).toEqual({ size: checkpoint.length });
    // Nothing is read back by tag: those who push have no need to.
    expect(await push.resolveManifest(`${target.token()}/app`, 'restore', options)).toBeUndefined();
  });

  test('the volumes have a repository of their own', async () => {
    const { target, push } = await open();
    await target.set('Prepared', { volumes: ['cache'] });
    expect(await push.uploads?.accept(`${target.token()}/${volumesRepository}`)).toBe(true);
    await push.uploads?.putManifest(`${target.token()}/${volumesRepository}`, 'restore', manifest);
    expect((await target.written())?.volumes).toBe(manifest.digest);
  });

  test.each(['Complete', 'Serving', 'Revoked', 'Committed'] as const)('nothing any more when it is %s', async (state) => {
    const { target, layer, push, serve } = await open();
    await target.set('Prepared');
    if (state === 'Complete') for (const part of ['app', 'proxy']) await target.keeper.received(uid, part, manifest.digest);
    else await serve();
    if (state !== 'Complete') await target.set(state);
    expect(target.keeper.view(uid).state).toBe(state);
    const repository = `${target.token()}/app`;
    expect(await push.uploads?.accept(repository)).toBe(false);
    expect(await read(push, target, layer)).toBeUndefined();
    await expect(push.uploads?.create(repository, whole)).rejects.toThrow('takes nothing any more');
    await expect(push.uploads?.putManifest(repository, 'restore', manifest)).rejects.toThrow('takes nothing any more');
  });
});
