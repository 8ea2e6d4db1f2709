import { createServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentConnections } from '../../../src/agent/agent-connections.ts';
import { Cleanup } from '../image/fixtures.ts';
import { agent, authority, certificate } from './certificates.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const signal = new AbortController().signal;

/** An agent that answers each request, and counts its connections and the certificates it was shown. */
async function start() {
  const seen = { connections: 0, certificates: new Set<string>() };
  const server = createServer({ cert: agent.cert, key: agent.key, ca: authority.cert, requestCert: true }, (_request, response) => {
    response.end();
  });
  server.on('secureConnection', (socket) => {
    seen.connections++;
    seen.certificates.add(socket.getPeerCertificate().serialNumber);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanup.add(server, (it) => {
    it.closeAllConnections();
    it.close();
  });
  const tls = { current: { ca: authority.cert, cert: agent.cert, key: agent.key } };
  const connections = cleanup.add(new AgentConnections(() => tls.current), (it) => it.close());
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, connections, seen, tls };
}

test('what is opened ahead is what is used, and used again', async () => {
  const { address, connections, seen } = await start();
  await connections.ready(address, 2, signal);
  expect(seen.connections).toBe(2);
  for (let round = 0; round < 3; round++) {
    // undici has a connection back a moment after the answer.
    await sleep(20);
    await connections.use(address, signal, (client) => Promise.all([client.ping({ signal }), client.ping({ signal })]));
  }
  expect(seen.connections).toBe(2);
});

test('a renewed certificate is shown from the next use on; who is at it goes on', async () => {
  const { address, connections, seen, tls } = await start();
  await connections.use(address, signal, async (client) => {
    await client.ping({ signal });
    const renewed = await certificate('podferry-agent-renewed');
    tls.current = { ca: authority.cert, cert: renewed.cert, key: renewed.key };
    await connections.use(address, signal, (next) => next.ping({ signal }));
    expect(seen.certificates.size).toBe(2);
    await client.ping({ signal });
  });
  expect(seen.certificates.size).toBe(2);
});

test('an agent that refuses or does not answer is no failure before something is sent, and is not waited for long', async () => {
  const silent = cleanup.add(createTcpServer(), (it) => void it.close());
  const sockets: { destroy(): void }[] = [];
  silent.on('connection', (socket) => sockets.push(socket));
  cleanup.add(sockets, (all) => {
    for (const socket of all) socket.destroy();
  });
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { connections } = await start();
  const begun = performance.now();
  await connections.ready('127.0.0.1:1', 2, signal);
  await connections.ready(`127.0.0.1:${(silent.address() as AddressInfo).port}`, 2, signal);
  expect(performance.now() - begun).toBeLessThan(5000);
  expect(sockets.length).toBeGreaterThan(0);
  await expect(connections.use('127.0.0.1:1', signal, (client) => client.ping({ signal }))).rejects.toMatchObject({ code: 'unreachable' });
});
