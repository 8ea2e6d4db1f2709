import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { MemoryServer } from '../../../src/agent/memory-server.ts';
import { tlsNames } from '../../../src/api/agent.ts';
import { BlobStore } from '../../../src/image/blob-store.ts';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { Cleanup } from '../image/fixtures.ts';
import { agent, anotherAuthority, authority, certificate, controller } from './certificates.ts';
import { log } from './fakes.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A thread that takes in what is sent to `token/app`. */
async function start() {
  const directory = cleanup.directory();
  const store = await BlobStore.open(directory);
  const port = await freePort();
  const directoryOf = async (repository: string) => (repository === 'token/app' ? directory : undefined);
  const server = cleanup.add(await MemoryServer.start({ port, tls: { ca: authority.cert, ...agent }, directoryOf }, log), (it) =>
    it.close(),
  );
  const client = (pair = agent, ca = authority.cert) =>
    cleanup.client(
      new RegistryClient({
        registry: `127.0.0.1:${port}`,
        scheme: 'https',
        ca,
        clientCert: pair.cert,
        clientKey: pair.key,
        servername: tlsNames.agent,
      }),
    );
  return { server, store, port, client };
}

const source = (content: Buffer) => ({
  available: async (position: number) => content.length - position,
  read: async (into: Buffer, position: number) => content.copy(into, 0, position),
});

test('memory is taken into the store of the repository, as the agent names it', async () => {
  const { store, client } = await start();
  const content = randomBytes(3_000_000);
  const { digest } = await client().uploadAppended('token/app', source(content));
  expect(await store.verify(digest)).toEqual({ digest, size: content.length });
  await expect(client().uploadAppended('other/app', source(content))).rejects.toMatchObject({ status: 404 });
});

test('only agents may send', async () => {
  const { client, store } = await start();
  await expect(client(controller).uploadAppended('token/app', source(Buffer.from('x')))).rejects.toMatchObject({ code: 'denied' });
  const stranger = await certificate(tlsNames.agent, await anotherAuthority());
  await expect(client(stranger).uploadAppended('token/app', source(Buffer.from('x')))).rejects.toMatchObject({ code: 'unreachable' });
  expect(await store.usage()).toBe(0);
});

test('a renewed certificate is used from then on', async () => {
  const { server, client } = await start();
  const next = await anotherAuthority();
  const renewed = await certificate(tlsNames.agent, next);
  server.renew({ ca: next.cert, ...renewed });
  const { digest } = await client(renewed, next.cert).uploadAppended('token/app', source(Buffer.from('memory')));
  expect(digest).toMatch(/^sha256:/);
});

test('a port that is taken is told', async () => {
  const { port } = await start();
  const tls = { ca: authority.cert, ...agent };
  await expect(MemoryServer.start({ port, tls, directoryOf: async () => undefined }, log)).rejects.toThrow(/EADDRINUSE/);
});
