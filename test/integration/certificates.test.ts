import { X509Certificate } from 'node:crypto';
import { connect, createServer } from 'node:tls';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { secretNames } from '../../src/api/names.ts';
import { injectCaBundle } from '../../src/kube/ca-bundle.ts';
import { keepCertificates } from '../../src/kube/certificate-keeper.ts';
import { type CertificateOptions, ensureCertificates } from '../../src/kube/certificates.ts';
import { mutatingWebhookConfigurations, secrets, validatingWebhookConfigurations } from '../../src/kube/resources.ts';
import { type TlsMaterial, watchTlsSecret } from '../../src/kube/tls-secret.ts';
import { type ApiServer, eventually, startApiServer } from './harness.ts';

let server: ApiServer;
let namespace: string;

beforeAll(async () => {
  server = await startApiServer();
});

afterAll(async () => {
  await server?.stop();
});

beforeEach(async () => {
  namespace = await server.createNamespace('certificates');
});

const day = 24 * 3600_000;
const inDays = (days: number) => () => new Date(Date.now() + days * day);

function ensure(options: Partial<CertificateOptions> = {}) {
  return ensureCertificates(server.client, { namespace, ...options });
}

async function material(name: string): Promise<TlsMaterial> {
  const { data = {} } = await server.client.get(secrets, { namespace, name });
  const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString();
  return { cert: text('tls.crt'), key: text('tls.key'), ca: text('ca.crt') };
}

/** A TLS handshake in which both sides show and check certificates; what each saw, or the error. */
async function handshake(serving: TlsMaterial, calling: TlsMaterial, servername: string): Promise<string> {
  const listener = createServer({ ...serving, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, (socket) => {
    socket.end((socket.getPeerCertificate().subject.CN as string) ?? '');
  });
  let refused: Error | undefined;
  listener.on('tlsClientError', (error) => {
    refused = error;
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as { port: number };
  try {
    return await new Promise<string>((resolve, reject) => {
      const socket = connect({ ...calling, port, host: '127.0.0.1', servername });
      let seen = '';
      socket.on('data', (data) => {
        seen += data.toString();
      });
      // In TLS 1.3 the caller has ended its handshake before it is refused.
      socket.on('end', () => (refused ? reject(refused) : resolve(seen)));
      socket.on('error', reject);
    });
  } finally {
    listener.close();
  }
}

test('three replicas at once agree on one CA, and its leaves make a mutually authenticated connection', async () => {
  const clients = await Promise.all([1, 2, 3].map((replica) => server.clientFor(`replica-${replica}`, ['system:masters'])));
  const states = await Promise.all(clients.map((client) => ensureCertificates(client, { namespace })));
  // Each Secret was created by exactly one of them.
  expect(states.flatMap((state) => state.written).sort()).toEqual(Object.values(secretNames).sort());
  const [authority, webhook, agent, controller] = await Promise.all(Object.values(secretNames).map(material));
  if (!authority || !webhook || !agent || !controller) throw new Error('a Secret is missing');
  expect([webhook.ca, agent.ca, controller.ca]).toEqual([authority.cert, authority.cert, authority.cert]);
  expect(await handshake(agent, controller, 'agent.podferry.internal')).toBe('controller.podferry.internal');
  expect(await handshake(agent, agent, 'agent.podferry.internal')).toBe('agent.podferry.internal');
  await expect(handshake(agent, controller, 'other.podferry.internal')).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  // The controller's certificate is for clients only: nobody may pass for an agent with it.
  await expect(handshake(controller, agent, 'controller.podferry.internal')).rejects.toMatchObject({ code: 'INVALID_PURPOSE' });

  const leaf = new X509Certificate(webhook.cert);
  expect(leaf.subjectAltName).toBe(`DNS:podferry-webhook.${namespace}.svc, DNS:podferry-webhook.${namespace}.svc.cluster.local`);
  expect(leaf.validToDate.getTime() - Date.now()).toBeGreaterThan(6.9 * day);
  expect(new X509Certificate(authority.cert).validToDate.getTime() - Date.now()).toBeGreaterThan(364 * day);
});

test('certificates of another CA are refused on both sides', async () => {
  await ensure();
  const agent = await material(secretNames.agent);
  const controller = await material(secretNames.controller);
  namespace = await server.createNamespace('certificates');
  await ensure();
  const stranger = await material(secretNames.agent);
  await expect(handshake(stranger, controller, 'agent.podferry.internal')).rejects.toMatchObject({
    code: expect.stringMatching(/SELF_SIGNED|UNABLE_TO/),
  });
  // The stranger believes the agent but is not believed itself. (Node.js ends such a connection without an alert.)
  await expect(handshake(agent, { ...stranger, ca: agent.ca }, 'agent.podferry.internal')).rejects.toMatchObject({
    code: expect.stringMatching(/ECONNRESET/),
  });
});

test('nothing is written while all is fresh; leaves are renewed at two thirds of their life', async () => {
  const { nextRenewal } = await ensure();
  expect((nextRenewal?.getTime() ?? 0) - Date.now()).toBeGreaterThan(4.6 * day);
  expect((nextRenewal?.getTime() ?? 0) - Date.now()).toBeLessThan(4.7 * day);
  expect((await ensure()).written).toEqual([]);
  expect((await ensure({ clock: inDays(4.6) })).written).toEqual([]);
  const before = await material(secretNames.agent);
  expect((await ensure({ clock: inDays(4.7) })).written).toEqual([secretNames.webhook, secretNames.agent, secretNames.controller]);
  const after = await material(secretNames.agent);
  expect(after.cert).not.toBe(before.cert);
  expect(after.ca).toBe(before.ca);
});

test('while the CA changes, whoever has old and whoever has new certificates understand each other', async () => {
  const at = async (days: number) => {
    await ensure({ clock: inDays(days) });
    return {
      agent: await material(secretNames.agent),
      controller: await material(secretNames.controller),
      authority: await material(secretNames.authority),
    };
  };
  const name = 'agent.podferry.internal';
  // The first CA was made so long ago that all of this is valid today.
  const old = await at(-245.1);
  // Two thirds of a year later: the next CA is made known and does not sign yet. (The leaves had expired.)
  const introduced = await at(-1.1);
  expect(introduced.authority.cert).toBe(old.authority.cert);
  expect(introduced.agent.ca.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  // A day later it signs; everybody has had the time to hear of it. Leaves are renewed when their time comes.
  const changed = await at(0);
  expect(changed.authority.cert).not.toBe(old.authority.cert);
  expect(introduced.agent.ca).toContain(changed.authority.cert);
  expect(changed.agent.ca).toContain(old.authority.cert);
  expect(changed.agent.cert).toBe(introduced.agent.cert);
  for (const leaf of [secretNames.agent, secretNames.controller]) await server.client.delete(secrets, { namespace, name: leaf });
  const renewed = await at(0);
  expect(new X509Certificate(renewed.agent.cert).issuer).not.toBe(new X509Certificate(introduced.agent.cert).issuer);

  for (const before of [introduced, changed]) {
    expect(await handshake(renewed.agent, before.controller, name)).toBe('controller.podferry.internal');
    expect(await handshake(before.agent, renewed.controller, name)).toBe('controller.podferry.internal');
  }
  // Who believes the new CA alone does not believe the old certificates: the bundle is what makes it work.
  await expect(handshake(introduced.agent, { ...renewed.controller, ca: changed.authority.cert }, name)).rejects.toThrow();
  // When the old one has expired it is no longer believed.
  expect((await at(121)).agent.ca).toBe(changed.authority.cert);
});

test('what somebody broke or deleted is made again', async () => {
  await ensure();
  const ca = await material(secretNames.authority);
  await server.client.patch(
    secrets,
    { namespace, name: secretNames.agent },
    { type: 'merge', body: { data: { 'tls.key': Buffer.from('nonsense').toString('base64') } } },
  );
  await server.client.delete(secrets, { namespace, name: secretNames.controller });
  expect((await ensure()).written).toEqual([secretNames.agent, secretNames.controller]);
  expect((await material(secretNames.authority)).cert).toBe(ca.cert);
  // A deleted CA is how an operator throws it away at once: everything is signed anew.
  await server.client.delete(secrets, { namespace, name: secretNames.authority });
  expect((await ensure()).written).toEqual(Object.values(secretNames));
  expect(await handshake(await material(secretNames.agent), await material(secretNames.controller), 'agent.podferry.internal')).not.toBe(
    '',
  );
});

test('Secrets that cert-manager keeps are left alone, one by one', async () => {
  const tls = { 'tls.crt': '', 'tls.key': '', 'ca.crt': '' };
  const external = (name: string) => ({
    metadata: { namespace, name, annotations: { 'cert-manager.io/certificate-name': name } },
    type: 'kubernetes.io/tls',
    data: tls,
  });
  await server.client.create(secrets, external(secretNames.webhook));
  const some = await ensure();
  expect(some).toMatchObject({
    external: [secretNames.webhook],
    written: [secretNames.authority, secretNames.agent, secretNames.controller],
  });
  expect((await server.client.get(secrets, { namespace, name: secretNames.webhook })).data).toEqual(tls);
  namespace = await server.createNamespace('certificates');
  for (const name of [secretNames.webhook, secretNames.agent, secretNames.controller]) await server.client.create(secrets, external(name));
  expect(await ensure()).toEqual({
    nextRenewal: undefined,
    written: [],
    external: [secretNames.webhook, secretNames.agent, secretNames.controller],
  });
  expect(await server.client.find(secrets, { namespace, name: secretNames.authority })).toBeUndefined();
});

const webhook = (name: string) => ({
  name,
  clientConfig: { service: { namespace: 'default', name: 'none', path: '/' } },
  admissionReviewVersions: ['v1'],
  sideEffects: 'None',
  failurePolicy: 'Ignore',
  rules: [{ apiGroups: ['nothing.podferry.io'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['nothings'] }],
});

test('the CA bundle goes into every webhook, except where cert-manager does that', async () => {
  await ensure();
  const own = `own-${namespace}`;
  const external = `external-${namespace}`;
  await server.client.create(mutatingWebhookConfigurations, {
    metadata: { name: own },
    webhooks: [webhook('a.podferry.io'), webhook('b.podferry.io')],
  });
  await server.client.create(validatingWebhookConfigurations, {
    metadata: { name: external, annotations: { 'cert-manager.io/inject-ca-from': 'a/b' } },
    webhooks: [webhook('a.podferry.io')],
  });
  const names = { mutating: [own], validating: [external, 'not-there'] };
  expect(await injectCaBundle(server.client, names, { namespace })).toEqual({
    written: [own],
    external: [external],
    missing: ['not-there'],
  });
  const { ca } = await material(secretNames.webhook);
  const stored = await server.client.get(mutatingWebhookConfigurations, { name: own });
  expect(stored.webhooks?.map((hook) => Buffer.from(hook.clientConfig.caBundle ?? '', 'base64').toString())).toEqual([ca, ca]);
  expect(
    (await server.client.get(validatingWebhookConfigurations, { name: external })).webhooks?.[0]?.clientConfig.caBundle,
  ).toBeUndefined();
  expect((await injectCaBundle(server.client, names, { namespace })).written).toEqual([]);
  await server.client.delete(mutatingWebhookConfigurations, { name: own });
  await server.client.delete(validatingWebhookConfigurations, { name: external });
});

test('a renewed Secret reaches whoever watches it; nonsense in it does not', async () => {
  await ensure();
  const seen: TlsMaterial[] = [];
  const errors: unknown[] = [];
  const watched = watchTlsSecret(
    server.client,
    namespace,
    secretNames.webhook,
    (tls) => seen.push(tls),
    (error) => errors.push(error),
  );
  try {
    const first = await watched.ready(AbortSignal.timeout(5000));
    await ensure({ clock: inDays(5) });
    await eventually(() => expect(seen).toHaveLength(2));
    expect(watched.current?.cert).not.toBe(first.cert);
    await server.client.patch(secrets, { namespace, name: secretNames.webhook }, { type: 'merge', body: { data: { 'tls.key': '' } } });
    await eventually(() => expect(String(errors[0])).toContain('holds no usable'));
    expect(watched.current).toBe(seen[1]);
    // A label changes nothing of the content.
    await ensure({ clock: inDays(5) });
    await eventually(() => expect(seen).toHaveLength(3));
    await server.client.patch(
      secrets,
      { namespace, name: secretNames.webhook },
      { type: 'merge', body: { metadata: { labels: { a: 'b' } } } },
    );
    await server.restart();
    expect(seen).toHaveLength(3);
  } finally {
    await watched.stop();
  }
}, 30_000);

test('the keeper makes everything, waits for a configuration that comes later, and heals', async () => {
  const name = `kept-${namespace}`;
  const stop = new AbortController();
  const errors: unknown[] = [];
  const options = {
    namespace,
    webhookConfigurations: { mutating: [name], validating: [] },
    interval: 300,
    onError: (error: unknown) => errors.push(error),
  };
  const keeping = keepCertificates(server.client, options, stop.signal);
  await eventually(() => material(secretNames.webhook));
  await server.client.create(mutatingWebhookConfigurations, { metadata: { name }, webhooks: [webhook('a.podferry.io')] });
  const bundle = async () => (await server.client.get(mutatingWebhookConfigurations, { name })).webhooks?.[0]?.clientConfig.caBundle;
  await eventually(async () => expect(await bundle()).toBeTruthy());
  await server.client.delete(secrets, { namespace, name: secretNames.agent });
  await eventually(() => material(secretNames.agent));
  stop.abort();
  await keeping;
  expect(errors).toEqual([]);
  await server.client.delete(mutatingWebhookConfigurations, { name });
});
