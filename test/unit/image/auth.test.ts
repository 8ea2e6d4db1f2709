import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { parseChallenges } from '../../../src/image/auth.ts';
import { digestOf } from '../../../src/image/digest.ts';
import { mediaTypes } from '../../../src/image/media-types.ts';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { Cleanup, startRegistry } from './fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const answer = (response: ServerResponse, status: number, headers: Record<string, string> = {}, body = '') => {
  response.writeHead(status, { 'content-length': String(Buffer.byteLength(body)), ...headers });
  response.end(body);
};

const oci = (code: string, message: string) => JSON.stringify({ errors: [{ code, message }] });

/** podferry's registry behind a check of the Authorization header. */
async function guarded(check: (request: IncomingMessage) => boolean, challenge: () => string) {
  const seen: (string | undefined)[] = [];
  const wrap =
    (handler: RequestListener): RequestListener =>
    (request, response) => {
      seen.push(request.headers.authorization);
      if (check(request)) handler(request, response);
      else answer(response, 401, { 'www-authenticate': challenge() }, oci('UNAUTHORIZED', 'authentication required'));
    };
  return { ...(await startRegistry(cleanup, { wrap })), seen };
}

const basic = `Basic ${Buffer.from('user:pass:word').toString('base64')}`;
const credentials = { username: 'user', password: 'pass:word' };

async function pushAndPull(client: RegistryClient): Promise<void> {
  const content = Buffer.alloc(300_000, 5);
  const { digest } = await client.uploadBlob('team/app', Readable.from([content]));
  expect((await buffer((await client.getBlob('team/app', digest)).stream)).equals(content)).toBe(true);
}

describe('Basic', () => {
  test('credentials are sent once asked for, and from then on', async () => {
    const { registry, seen } = await guarded(
      (request) => request.headers.authorization === basic,
      () => 'Basic realm="x"',
    );
    const client = cleanup.client(new RegistryClient({ registry, scheme: 'http', credentials }));
    await pushAndPull(client);
    expect(seen[0]).toBeUndefined();
    expect(seen.slice(1).every((header) => header === basic)).toBe(true);
  });

  test('wrong or no credentials', async () => {
    const { registry, seen } = await guarded(
      () => false,
      () => 'Basic realm="x"',
    );
    const wrong = cleanup.client(new RegistryClient({ registry, scheme: 'http', credentials }));
    await expect(wrong.ping()).rejects.toMatchObject({
      code: 'unauthorized',
      status: 401,
      message: expect.stringMatching(/UNAUTHORIZED: authentication required; check user name and password/),
    });
    expect(seen).toHaveLength(2);
    const none = cleanup.client(new RegistryClient({ registry, scheme: 'http' }));
    await expect(none.ping()).rejects.toMatchObject({ code: 'unauthorized', message: expect.stringContaining('none were given') });
  });
});

describe('Bearer', () => {
  /** A token server that gives out token-1, token-2, … to the right user; what it was asked. */
  async function tokenServer(expires = 300) {
    const asked: URL[] = [];
    const address = await cleanup.serve((request, response) => {
      asked.push(new URL(request.url as string, 'http://token'));
      if (request.headers.authorization !== basic) answer(response, 401, {}, '{"details":"incorrect username or password"}');
      else
        answer(
          response,
          200,
          { 'content-type': 'application/json' },
          JSON.stringify({ token: `token-${asked.length}`, expires_in: expires }),
        );
    });
    return { address, asked };
  }

  test('a token per scope, asked for once', async () => {
    const { address, asked } = await tokenServer();
    const { registry } = await guarded(
      (request) => /^Bearer token-\d+$/.test(request.headers.authorization ?? ''),
      () => `Bearer realm="http://${address}/token",service="reg",scope="repository:team/app:pull"`,
    );
    const client = cleanup.client(new RegistryClient({ registry, scheme: 'http', credentials }));
    await pushAndPull(client);
    await pushAndPull(client);
    expect(asked.map((url) => [url.searchParams.get('service'), url.searchParams.getAll('scope')])).toEqual([
      ['reg', ['repository:team/app:pull,push', 'repository:team/app:pull']],
      ['reg', ['repository:team/app:pull']],
    ]);
  });

  test('a token that is refused later is renewed once', async () => {
    const { address, asked } = await tokenServer();
    let revoked = '';
    const { registry } = await guarded(
      (request) => request.headers.authorization !== undefined && request.headers.authorization !== revoked,
      () => `Bearer realm="http://${address}/token"`,
    );
    const client = cleanup.client(new RegistryClient({ registry, scheme: 'http', credentials }));
    await client.ping();
    revoked = 'Bearer token-1';
    await client.ping();
    expect(asked).toHaveLength(2);
  });

  test('the token server refuses', async () => {
    const { address } = await tokenServer();
    const { registry } = await guarded(
      () => false,
      () => `Bearer realm="http://${address}/token"`,
    );
    const client = cleanup.client(new RegistryClient({ registry, scheme: 'http', credentials: { username: 'user', password: 'wrong' } }));
    await expect(client.ping()).rejects.toMatchObject({
      code: 'unauthorized',
      message: expect.stringMatching(/incorrect username or password.*check the credentials of "user"/),
    });
  });

  test('a registry that cannot be satisfied is asked twice, not for ever', async () => {
    const { address, asked } = await tokenServer();
    const { registry, seen } = await guarded(
      () => false,
      () => `Bearer realm="http://${address}/token"`,
    );
    const client = cleanup.client(new RegistryClient({ registry, scheme: 'http', credentials }));
    await expect(client.ping()).rejects.toMatchObject({ code: 'unauthorized' });
    expect([seen.length, asked.length]).toEqual([2, 1]);
  });

  test('a given token is sent as it is', async () => {
    const { registry } = await guarded(
      (request) => request.headers.authorization === 'Bearer mine',
      () => 'Bearer realm="http://127.0.0.1:1/"',
    );
    await pushAndPull(cleanup.client(new RegistryClient({ registry, scheme: 'http', bearerToken: 'mine' })));
  });

  test('challenges are read as RFC 9110 writes them', () => {
    expect(parseChallenges(['Basic realm="a \\"b\\", c"', 'Bearer realm="https://t/x",service=s, scope="repository:a:pull,push"'])).toEqual(
      [
        { scheme: 'basic', parameters: new Map([['realm', 'a "b", c']]) },
        {
          scheme: 'bearer',
          parameters: new Map([
            ['realm', 'https://t/x'],
            ['service', 's'],
            ['scope', 'repository:a:pull,push'],
          ]),
        },
      ],
    );
  });
});

describe('answers of other registries', () => {
  const client = async (listener: RequestListener) =>
    cleanup.client(new RegistryClient({ registry: await cleanup.serve(listener), scheme: 'http' }));

  test.each([
    [403, oci('DENIED', 'requested access to the resource is denied'), 'denied', /DENIED: requested access.*may not do this/],
    [429, oci('TOOMANYREQUESTS', 'slow down'), 'unreachable', /try again later/],
    [503, '<html>Service\n Unavailable</html>', 'unreachable', /503: <html>Service Unavailable/],
    [500, oci('UNKNOWN', 'write: no space left on device'), 'no-space', /full/],
    [413, '', 'too-large', /413; raise the limit/],
    [418, '', 'protocol', /418/],
  ])('%d becomes words', async (status, body, code, message) => {
    const it = await client((_request, response) => answer(response, status, {}, body));
    await expect(it.uploadBlob('team/app', Readable.from(['x']))).rejects.toMatchObject({
      code,
      status,
      message: expect.stringMatching(message),
    });
    await expect(it.ping()).rejects.toMatchObject({ message: expect.stringMatching(/^registry http:\/\/127/) });
  });

  test('storage elsewhere is followed, without credentials', async () => {
    const content = Buffer.from('stored elsewhere');
    const headers: unknown[] = [];
    const storage = await cleanup.serve((request, response) => {
      headers.push(request.headers.authorization);
      answer(response, 200, {}, content.toString());
    });
    const registry = await cleanup.serve((request, response) => {
      headers.push(request.headers.authorization);
      answer(response, 307, { location: `http://${storage}/signed?x=1` });
    });
    const it = cleanup.client(new RegistryClient({ registry, scheme: 'http', bearerToken: 'secret' }));
    expect((await buffer((await it.getBlob('a', digestOf(content))).stream)).equals(content)).toBe(true);
    expect(headers).toEqual(['Bearer secret', undefined]);
    const loop = await client((request, response) => answer(response, 307, { location: request.url as string }));
    await expect(loop.getBlob('a', digestOf(content))).rejects.toMatchObject({
      code: 'protocol',
      message: expect.stringContaining('redirected too often'),
    });
  });

  test("the upload's state in Location is sent back as it came, and the session deleted on failure", async () => {
    const seen: string[] = [];
    const it = await client((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      request.resume().on('end', () => {
        if (request.method === 'POST') answer(response, 202, { location: '/up/1?_state=a%2Bb%3D%3D' });
        else if (request.method === 'PATCH') answer(response, 202, { location: '/up/2?_state=c%2Fd%3D' });
        else if (request.method === 'PUT') answer(response, 400, {}, oci('DIGEST_INVALID', 'provided digest did not match'));
        else answer(response, 204, {});
      });
    });
    await expect(it.uploadBlob('a', Readable.from([Buffer.from('x')]))).rejects.toMatchObject({ code: 'digest-mismatch' });
    const digest = encodeURIComponent(digestOf(Buffer.from('x')));
    expect(seen).toEqual([
      'POST /v2/a/blobs/uploads/',
      'PATCH /up/1?_state=a%2Bb%3D%3D',
      `PUT /up/2?_state=c%2Fd%3D&digest=${digest}`,
      'DELETE /up/2?_state=c%2Fd%3D',
    ]);
  });

  test('a registry without PATCH gets the blob in one PUT, if the source can be read twice', async () => {
    const content = Buffer.alloc(200_000, 3);
    let stored: Buffer | undefined;
    const listener: RequestListener = (request, response) => {
      if (request.method === 'PATCH') answer(response, 405, { connection: 'close' }, oci('UNSUPPORTED', 'no chunks'));
      else if (request.method === 'PUT') {
        expect(request.headers['content-length']).toBe(String(content.length));
        void buffer(request).then((body) => {
          stored = body;
          answer(response, 201);
        });
      } else answer(response, request.method === 'POST' ? 202 : 204, { location: '/up' });
    };
    const it = await client(listener);
    expect(await it.uploadBlob('a', () => Readable.from([content]))).toEqual({ digest: digestOf(content), size: content.length });
    expect(stored?.equals(content)).toBe(true);
    await expect(it.uploadBlob('a', Readable.from([content]))).rejects.toMatchObject({
      status: 405,
      message: expect.stringContaining('does not support'),
    });
  });

  test('manifests: another digest than announced, and too large ones', async () => {
    const digest = digestOf(Buffer.from('{}'));
    const other = await client((_request, response) => answer(response, 200, { 'content-type': mediaTypes.manifest }, '{"x":1}'));
    await expect(other.getManifest('a', digest)).rejects.toMatchObject({ code: 'digest-mismatch' });
    const lying = await client((_request, response) => answer(response, 200, { 'docker-content-digest': digest }, '{"x":1}'));
    await expect(lying.getManifest('a', 'tag')).rejects.toMatchObject({ code: 'digest-mismatch' });
    const large = await client((_request, response) => answer(response, 200, {}, ' '.repeat(5_000_000)));
    await expect(large.getManifest('a', 'tag')).rejects.toMatchObject({ code: 'too-large' });
    const gone = await client((_request, response) => answer(response, 404, {}, oci('MANIFEST_UNKNOWN', '')));
    expect(await gone.deleteManifest('a', digest)).toBe(false);
  });

  test('a registry that breaks the connection in the middle of an upload', async () => {
    const it = await client((request, response) => {
      if (request.method === 'PATCH') request.once('data', () => request.socket.destroy());
      else answer(response, request.method === 'POST' ? 202 : 204, { location: '/up' });
    });
    const endless = Readable.from(
      (async function* () {
        for (;;) yield Buffer.alloc(65_536);
      })(),
      { objectMode: false },
    );
    await expect(it.uploadBlob('a', endless)).rejects.toMatchObject({ code: 'unreachable' });
    expect(endless.destroyed).toBe(true);
  });

  test('names that would leave their place in the URL are refused here', async () => {
    const it = cleanup.client(new RegistryClient({ registry: '127.0.0.1:1', scheme: 'http' }));
    await expect(it.getManifest('a/../b', 'x')).rejects.toMatchObject({ code: 'protocol' });
    await expect(it.getManifest('a', '../x')).rejects.toMatchObject({ code: 'protocol' });
    await expect(it.headBlob('a', 'sha256:x')).rejects.toMatchObject({ code: 'protocol' });
  });
});
