import type { X509Certificate } from 'node:crypto';
import { tlsNames } from '../api/agent.ts';
import { secretNames } from '../api/names.ts';
import { type Authority, type AuthorityPlan, backdated, bundleOf, planAuthority, renewalOf } from './authority.ts';
import type { KubeClient } from './client.ts';
import { sleep } from './deadline.ts';
import { KubeError } from './errors.ts';
import { isSignedBy, type KeyPair, namesOf, readCertificate, readKeyPair } from './key-pair.ts';
import { type Secret, secrets } from './resources.ts';
import type { Draft } from './types.ts';
import { issue, type Usage, usagesOf } from './x509.ts';

/** How long things are valid. Milliseconds. */
export interface CertificateValidity {
  /** Default one year. */
  authority: number;
  /** Default seven days; renewed at two thirds. */
  leaf: number;
  /** How long a new CA is trusted before it signs. Default one day. */
  introduction: number;
}

export interface CertificateOptions {
  /** podferry's own namespace. */
  namespace: string;
  clock?: (() => Date) | undefined;
  validity?: Partial<CertificateValidity> | undefined;
  signal?: AbortSignal | undefined;
}

export interface CertificateState {
  /** When to come again; undefined when cert-manager has everything in its hands. */
  nextRenewal: Date | undefined;
  /** Names of the Secrets this call wrote. */
  written: string[];
  /** Names of the leaf Secrets that cert-manager keeps; they were left alone. */
  external: string[];
}

interface Leaf {
  name: string;
  dnsNames: string[];
  usages: Usage[];
}

const day = 24 * 3600_000;
const defaultValidity: CertificateValidity = { authority: 365 * day, leaf: 7 * day, introduction: day };

/** cert-manager puts it on every Secret it keeps. */
const certManagerAnnotation = 'cert-manager.io/certificate-name';
const managedBy = { 'app.kubernetes.io/name': 'podferry', 'app.kubernetes.io/managed-by': 'podferry' };

/** What each leaf is for. */
export function leavesOf(namespace: string): Leaf[] {
  const service = `podferry-webhook.${namespace}.svc`;
  return [
    { name: secretNames.webhook, dnsNames: [service, `${service}.cluster.local`], usages: ['serverAuth'] },
    { name: secretNames.agent, dnsNames: [tlsNames.agent], usages: ['serverAuth', 'clientAuth'] },
    { name: secretNames.controller, dnsNames: [tlsNames.controller], usages: ['clientAuth'] },
  ];
}

/**
 * Sees to it that podferry's own certificates exist and are fresh: a CA and three leaves, in Secrets. Does nothing when
 * all is well, so it may be called at any time and by several replicas at once (whoever loses a race reads again what
 * the winner wrote). Secrets that cert-manager keeps are never touched.
 *
 * @throws KubeError that names the Secret when the API server refuses or cannot be reached
 */
export async function ensureCertificates(client: KubeClient, options: CertificateOptions): Promise<CertificateState> {
  const { namespace, signal, clock = () => new Date() } = options;
  const validity = { ...defaultValidity, ...options.validity };
  const leaves = leavesOf(namespace);
  const found = await Promise.all(leaves.map(({ name }) => client.find(secrets, { namespace, name }, { signal })));
  const external = leaves.filter((_, index) => isExternal(found[index])).map((leaf) => leaf.name);
  const written: string[] = [];
  const own = leaves.filter((leaf) => !external.includes(leaf.name));
  if (own.length === 0) return { nextRenewal: undefined, written, external };

  let plan: AuthorityPlan | undefined;
  await write(client, namespace, secretNames.authority, written, signal, async (secret) => {
    plan = await planAuthority(storedAuthority(secret), clock(), validity);
    return plan.changed ? dataOf(plan.authority) : undefined;
  });
  // `write` asked at least once.
  const { authority, due } = plan as AuthorityPlan;
  const renewals = [due];
  for (const leaf of own) {
    await write(client, namespace, leaf.name, written, signal, async (secret) => {
      // It may have come under cert-manager since.
      if (isExternal(secret)) return undefined;
      const next = await planLeaf(secret, leaf, authority, clock(), validity.leaf);
      renewals.push(renewalOf(readCertificate(next.pair.cert) as X509Certificate));
      return next.data;
    });
  }
  const soonest = Math.min(...renewals.map((at) => at.getTime()));
  return { nextRenewal: new Date(soonest), written, external };
}

async function planLeaf(
  secret: Secret | undefined,
  leaf: Leaf,
  authority: Authority,
  now: Date,
  validity: number,
): Promise<{ pair: KeyPair; data: Record<string, string> | undefined }> {
  const ca = bundleOf(authority);
  const stored = decoded(secret);
  const pair = { cert: stored['tls.crt'] ?? '', key: stored['tls.key'] ?? '' };
  if (isFresh(pair, leaf, authority, now)) {
    return { pair, data: stored['ca.crt'] === ca ? undefined : { 'tls.crt': pair.cert, 'tls.key': pair.key, 'ca.crt': ca } };
  }
  const fresh = await issue(authority.current, {
    commonName: leaf.dnsNames[0] ?? leaf.name,
    dnsNames: leaf.dnsNames,
    usages: leaf.usages,
    notBefore: new Date(now.getTime() - backdated),
    notAfter: new Date(now.getTime() + validity),
  });
  return { pair: fresh, data: { 'tls.crt': fresh.cert, 'tls.key': fresh.key, 'ca.crt': ca } };
}

function isFresh(pair: KeyPair, leaf: Leaf, authority: Authority, now: Date): boolean {
  const cert = readKeyPair(pair);
  if (!cert || now < cert.validFromDate || now >= renewalOf(cert)) return false;
  const names = leaf.dnsNames.map((name) => `DNS:${name}`).sort();
  if (namesOf(cert).join() !== names.join() || usagesOf(cert).join() !== leaf.usages.join()) return false;
  const issuers = [authority.current.cert, authority.next?.cert, authority.previousCert].map(readCertificate);
  return issuers.some((issuer) => issuer && isSignedBy(cert, issuer));
}

/** Reads, asks `decide`, writes; again when somebody else wrote in between. `decide` gives the data, or undefined when nothing is to be done. */
async function write(
  client: KubeClient,
  namespace: string,
  name: string,
  written: string[],
  signal: AbortSignal | undefined,
  decide: (secret: Secret | undefined) => Promise<Record<string, string> | undefined>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const secret = await client.find(secrets, { namespace, name }, { signal });
    const data = await decide(secret);
    if (!data) return;
    try {
      if (secret) await client.replace(secrets, { ...secret, data: encoded(data) }, { signal });
      else await client.create(secrets, newSecret(namespace, name, data), { signal });
      written.push(name);
      return;
    } catch (error) {
      const raced = error instanceof KubeError && (error.isConflict || error.isAlreadyExists || error.isNotFound);
      // A missing namespace is "not found" too and stays so.
      if (!raced || attempt >= 10) throw error;
      await sleep(20 * attempt * Math.random(), signal);
    }
  }
}

function newSecret(namespace: string, name: string, data: Record<string, string>): Draft<Secret> {
  return { metadata: { namespace, name, labels: managedBy }, type: 'kubernetes.io/tls', data: encoded(data) };
}

function encoded(data: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')]));
}

function decoded(secret: Secret | undefined): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(secret?.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
}

function isExternal(secret: Secret | undefined): boolean {
  return secret?.metadata.annotations?.[certManagerAnnotation] !== undefined;
}

function storedAuthority(secret: Secret | undefined): Partial<Authority> {
  const data = decoded(secret);
  const pair = (name: string) => {
    const cert = data[`${name}.crt`];
    const key = data[`${name}.key`];
    return cert && key ? { cert, key } : undefined;
  };
  const [current, next, previousCert] = [pair('tls'), pair('next'), data['previous.crt']];
  return { ...(current ? { current } : {}), ...(next ? { next } : {}), ...(previousCert ? { previousCert } : {}) };
}

function dataOf(authority: Authority): Record<string, string> {
  const { current, next, previousCert } = authority;
  return {
    'tls.crt': current.cert,
    'tls.key': current.key,
    'ca.crt': bundleOf(authority),
    ...(next ? { 'next.crt': next.cert, 'next.key': next.key } : {}),
    ...(previousCert ? { 'previous.crt': previousCert } : {}),
  };
}
