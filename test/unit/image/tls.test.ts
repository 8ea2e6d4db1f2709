import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { Readable } from 'node:stream';
import * as x509 from '@peculiar/x509';
import { RegistryClient, type RegistryOptions } from '../../../src/image/registry-client.ts';
import { Cleanup, startRegistry } from './fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

interface Pair {
  cert: string;
  key: string;
}

async function pem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
}

/** An authority and what it signs, for DNS names. */
async function authority() {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const name = 'CN=test authority';
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name,
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true)],
  });
  const sign = async (dns: string, days = 1): Promise<Pair> => {
    const own = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
    const cert = await x509.X509CertificateGenerator.create({
      subject: `CN=${dns}`,
      issuer: name,
      publicKey: own.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: algorithm,
      notBefore: new Date(Date.now() - 10 * 86_400_000),
      notAfter: new Date(Date.now() + days * 86_400_000),
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: dns }])],
    });
    return { cert: cert.toString('pem'), key: await pem(own) };
  };
  return { ca: ca.toString('pem'), sign };
}

test('mutual TLS: both sides are checked, and each refusal says which', async () => {
  const ours = await authority();
  const server = await ours.sign('agent.podferry.internal');
  const { registry } = await startRegistry(cleanup, { tls: { ...server, ca: ours.ca, requestCert: true, rejectUnauthorized: true } });
  const me = await ours.sign('agent.podferry.internal');
  const right: RegistryOptions = {
    registry,
    scheme: 'https',
    ca: ours.ca,
    clientCert: me.cert,
    clientKey: me.key,
    servername: 'agent.podferry.internal',
  };
  const attempt = (options: Partial<RegistryOptions>) => {
    const { ca, clientCert, clientKey, servername, ...rest } = { ...right, ...options };
    const given = Object.fromEntries(Object.entries({ ca, clientCert, clientKey, servername }).filter(([, value]) => value !== ''));
    return cleanup.client(new RegistryClient({ ...rest, ...given })).uploadBlob('a', Readable.from([Buffer.from('x')]));
  };
  expect(await attempt({})).toMatchObject({ size: 1 });
  const stranger = await (await authority()).sign('agent.podferry.internal');
  await expect(attempt({ ca: (await authority()).ca })).rejects.toMatchObject({ code: 'tls' });
  await expect(attempt({ ca: '' })).rejects.toMatchObject({ code: 'tls', message: expect.stringContaining('give its CA') });
  await expect(attempt({ servername: 'controller.podferry.internal' })).rejects.toMatchObject({
    code: 'tls',
    message: expect.stringContaining('another name'),
  });
  // With TLS 1.3 the server can only hang up: the message has to say why that may be.
  const hungUp = { code: expect.stringMatching(/^(tls|unreachable)$/), message: expect.stringMatching(/certificate/) };
  await expect(attempt({ clientCert: stranger.cert, clientKey: stranger.key })).rejects.toMatchObject(hungUp);
  await expect(attempt({ clientCert: '', clientKey: '' })).rejects.toMatchObject(hungUp);
});

test('an expired certificate, and a server without TLS', async () => {
  const ours = await authority();
  const { registry } = await startRegistry(cleanup, { tls: await ours.sign('agent.podferry.internal', -1) });
  const late = cleanup.client(new RegistryClient({ registry, scheme: 'https', ca: ours.ca, servername: 'agent.podferry.internal' }));
  await expect(late.ping()).rejects.toMatchObject({ code: 'tls', message: expect.stringMatching(/not valid now/) });
  const plain = await startRegistry(cleanup);
  const client = cleanup.client(new RegistryClient({ registry: plain.registry, scheme: 'https', ca: ours.ca }));
  await expect(client.ping()).rejects.toMatchObject({ code: 'tls', message: expect.stringMatching(/speaks TLS/) });
});
