import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Agent, request } from 'undici';
import { secure } from '../../../src/agent/mutual-tls.ts';
import { agentApi, agentServer } from '../../../src/agent/server.ts';
import { tlsNames } from '../../../src/api/agent.ts';
import type { KeyPair } from '../../../src/kube/key-pair.ts';
import { issue } from '../../../src/kube/x509.ts';
import { Cleanup } from '../image/fixtures.ts';
import { agent, anotherAuthority, authority, certificate, controller, usages, validity } from './certificates.ts';
import { log, otherUid, podUid, uid } from './fakes.ts';
import { sourceRequest, startSource } from './source-fixtures.ts';
import { startTarget } from './target-fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const cpu = { architecture: 'amd64', vendor: 'GenuineIntel', features: ['avx2'] };

/** The server of an agent, with real keepers behind `/v1`; `/v2` says who it is. */
async function start() {
  const source = await startSource(cleanup);
  const target = await startTarget(cleanup);
  const push = Object.assign((_request: unknown, response: { end(text: string): unknown }) => void response.end('the registry'), {
    close: async () => undefined,
  });
  const server = agentServer(
    agentApi(source.keeper, target.keeper, async () => cpu, log),
    push,
    { ca: authority.cert, ...agent },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanup.add(server, (it) => {
    it.closeAllConnections();
    return new Promise((resolve) => it.close(resolve));
  });
  return { source, target, server };
}

/** A caller with this certificate, or with none. */
function caller(server: Server, pair: KeyPair | undefined, ca = authority.cert) {
  const dispatcher = cleanup.add(new Agent({ connect: { ca, ...pair, servername: tlsNames.agent } }), (it) => it.destroy());
  return async (method: 'GET' | 'PUT' | 'DELETE', path: string, body?: object | string) => {
    const { port } = server.address() as AddressInfo;
    const answer = await request(`https://127.0.0.1:${port}${path}`, {
      method,
      dispatcher,
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, body: text.startsWith('{') ? JSON.parse(text) : text };
  };
}

describe('who may do what', () => {
  test('the controller sets goals, other agents push; not the other way round', async () => {
    const { server } = await start();
    expect(await caller(server, controller)('GET', `/v1/sources/${uid}`)).toEqual({
      status: 200,
      body: { revision: 0, state: 'Unknown', containers: [] },
    });
    expect(await caller(server, agent)('GET', '/v2/')).toEqual({ status: 200, body: 'the registry' });
    expect(await caller(server, controller)('GET', '/v1/cpu')).toEqual({ status: 200, body: cpu });
    for (const [pair, path, name] of [
      [controller, '/v2/', tlsNames.controller],
      [agent, `/v1/sources/${uid}`, tlsNames.agent],
      [controller, '/', tlsNames.controller],
      [agent, '/v1', tlsNames.agent],
      [agent, '/v1/cpu', tlsNames.agent],
    ] as const) {
      const { status, body } = await caller(server, pair)('GET', path);
      expect([path, status]).toEqual([path, 403]);
      expect(body.error).toContain(name);
    }
  });

  test('another name that the authority signed for may nothing', async () => {
    const { server } = await start();
    for (const name of ['webhook.podferry.internal', `x.${tlsNames.controller}`, `${tlsNames.controller}.evil.example`]) {
      const call = caller(server, await certificate(name));
      for (const path of [`/v1/sources/${uid}`, '/v2/']) expect((await call('GET', path)).status).toBe(403);
    }
    const named = await issue(authority, { commonName: tlsNames.controller, usages, ...validity });
    expect((await caller(server, named)('GET', `/v1/sources/${uid}`)).status).toBe(403);
  });

  test('no certificate, one of another authority, or one whose time is over: no connection', async () => {
    const { server } = await start();
    const other = await anotherAuthority();
    const past = { notBefore: new Date(Date.now() - 7200_000), notAfter: new Date(Date.now() - 3600_000) };
    const expired = await issue(authority, { commonName: 'x', dnsNames: [tlsNames.controller], usages, ...past });
    for (const pair of [undefined, await certificate(tlsNames.controller, other), expired]) {
      await expect(caller(server, pair)('GET', `/v1/sources/${uid}`)).rejects.toThrow();
    }
  });

  test('new certificates are taken into use without a restart', async () => {
    const { server } = await start();
    const next = await anotherAuthority();
    server.setSecureContext(secure({ ca: next.cert, ...(await certificate(tlsNames.agent, next)) }));
    const call = caller(server, await certificate(tlsNames.controller, next), next.cert);
    expect((await call('GET', `/v1/sources/${uid}`)).status).toBe(200);
    await expect(caller(server, controller, next.cert)('GET', `/v1/sources/${uid}`)).rejects.toThrow();
  });
});

describe("the controller's way in", () => {
  const open = async () => {
    const { server, ...rest } = await start();
    return { ...rest, call: caller(server, controller) };
  };

  test('goals are set, views read, records removed', async () => {
    const { call, source, target } = await open();
    expect(await call('PUT', `/v1/sources/${uid}`, sourceRequest('Shipped'))).toMatchObject({ status: 200, body: { state: 'Freezing' } });
    await source.reaches('Shipped');
    expect((await call('GET', `/v1/sources/${uid}`)).body).toMatchObject({
      state: 'Shipped',
      containers: [{ name: 'app' }, { name: 'proxy' }],
    });
    expect((await call('PUT', `/v1/sources/${uid}`, sourceRequest('Held'))).body.state).toBe('Held');
    expect(await call('DELETE', `/v1/sources/${uid}`)).toEqual({ status: 204, body: '' });
    expect((await call('GET', `/v1/sources/${uid}`)).body.state).toBe('Unknown');
    expect((await call('PUT', `/v1/targets/${uid}`, target.request('Prepared'))).body).toMatchObject({
      state: 'Prepared',
      repository: target.token(),
    });
    expect((await call('DELETE', `/v1/targets/${otherUid}`)).status).toBe(204);
  });

  test('a wait ends with the next change, or when its time is over', async () => {
    const { call, target } = await open();
    await target.set('Prepared');
    const { revision } = target.keeper.view(uid);
    const next = call('GET', `/v1/targets/${uid}?revision=${revision}&wait=5000`);
    await target.set('Committed');
    expect((await next).body.state).toBe('Committed');
    expect((await call('GET', `/v1/targets/${uid}?revision=${revision + 1}&wait=20`)).body.revision).toBe(revision + 1);
    expect((await call('GET', `/v1/targets/${uid}?revision=${revision}&wait=60000`)).body.revision).toBe(revision + 1);
    expect((await call('GET', `/v1/targets/${uid}?wait=nonsense`)).status).toBe(200);
  });

  test('what is no uid never becomes a path', async () => {
    const { call } = await open();
    for (const wrong of ['x', podUid.slice(1), encodeURIComponent('../../../etc/passwd'), `${uid}%00`]) {
      const { status, body } = await call('PUT', `/v1/sources/${wrong}`, sourceRequest('Shipped'));
      expect(status).toBe(400);
      expect(body.error).toContain('is not the uid of a Migration');
    }
    expect((await call('GET', '/v1/elsewhere')).status).toBe(404);
  });

  test('a body that is not JSON, or too large; an error of a keeper', async () => {
    const { call, target } = await open();
    expect((await call('PUT', `/v1/sources/${uid}`, '{')).status).toBe(400);
    expect((await call('PUT', `/v1/sources/${uid}`, JSON.stringify({ x: 'x'.repeat(1 << 20) }))).status).toBe(413);
    target.runtime.imageContent = () => Promise.reject(new Error('containerd is gone'));
    expect(await call('PUT', `/v1/targets/${uid}`, target.request('Prepared'))).toEqual({
      status: 500,
      body: { error: 'containerd is gone' },
    });
  });
});
