import type { X509Certificate } from 'node:crypto';
import { type KeyPair, readCertificate, readKeyPair } from './key-pair.ts';
import { metaTime } from './time.ts';
import { newAuthority } from './x509.ts';

export interface AuthorityValidity {
  /** Of a CA certificate. Milliseconds. */
  authority: number;
  /** How long a new CA is only trusted before it signs. Milliseconds. */
  introduction: number;
}

/** The certificate authority as it lies in its Secret. */
export interface Authority {
  /** Signs. */
  current: KeyPair;
  /** Trusted everywhere already, signs when everybody had the time to hear of it. */
  next?: KeyPair;
  /** Signed before; certificates of it are still about. */
  previousCert?: string;
}

export interface AuthorityPlan {
  authority: Authority;
  /** Whether it has to be written. */
  changed: boolean;
  /** When something is to be done next. */
  due: Date;
}

/** Certificates are valid from this long before they are made: clocks differ. Milliseconds. */
export const backdated = 5 * 60_000;

/**
 * What has to become of an authority. A new CA comes in two steps, so that no handshake fails while the news spreads:
 * at two thirds of the old one's life it is made and put into every bundle; after the introduction it begins to sign,
 * and the old one stays in the bundles until it expires. (Its key is thrown away then.)
 */
export async function planAuthority(
  stored: Partial<Authority> | undefined,
  now: Date,
  validity: AuthorityValidity,
): Promise<AuthorityPlan> {
  const usable = (pair: KeyPair | undefined) => (aliveCa(readKeyPair(pair), now) ? pair : undefined);
  let current = usable(stored?.current);
  let next = usable(stored?.next);
  let previousCert = aliveCa(readCertificate(stored?.previousCert), now) ? stored?.previousCert : undefined;
  let changed = false;

  if (!current || (next && now >= signsFrom(next, validity))) {
    // An own certificate whose key is lost or damaged may still have signed what is in use.
    const before = aliveCa(readCertificate(stored?.current?.cert), now) ? stored?.current?.cert : undefined;
    previousCert = before ?? previousCert;
    current = next ?? (await make(now, validity));
    next = undefined;
    changed = true;
  } else if (!next && now >= twoThirdsOf(current)) {
    next = await make(now, validity);
    changed = true;
  }
  changed ||= previousCert !== stored?.previousCert || next?.cert !== stored?.next?.cert;
  const due = next ? signsFrom(next, validity) : twoThirdsOf(current);
  return { authority: { current, ...(next ? { next } : {}), ...(previousCert ? { previousCert } : {}) }, changed, due };
}

/** PEM of all certificates that are to be trusted, the signing one first. */
export function bundleOf({ current, next, previousCert }: Authority): string {
  return [current.cert, next?.cert, previousCert]
    .filter((cert) => cert !== undefined)
    .map((cert) => `${cert.trim()}\n`)
    .join('');
}

/** When a certificate is to be renewed: at two thirds of its life, as cert-manager does. */
export function renewalOf(cert: X509Certificate): Date {
  const from = cert.validFromDate.getTime();
  return new Date(from + ((cert.validToDate.getTime() - from) * 2) / 3);
}

async function make(now: Date, validity: AuthorityValidity): Promise<KeyPair> {
  const notBefore = new Date(now.getTime() - backdated);
  return newAuthority(`podferry CA ${metaTime(now)}`, { notBefore, notAfter: new Date(now.getTime() + validity.authority) });
}

function aliveCa(cert: X509Certificate | undefined, now: Date): boolean {
  return cert?.ca === true && now < cert.validToDate;
}

function twoThirdsOf(pair: KeyPair): Date {
  return renewalOf(readCertificate(pair.cert) as X509Certificate);
}

function signsFrom(next: KeyPair, validity: AuthorityValidity): Date {
  const made = (readCertificate(next.cert) as X509Certificate).validFromDate.getTime() + backdated;
  return new Date(made + validity.introduction);
}
