import { createPrivateKey, X509Certificate } from 'node:crypto';

/** Reading certificates; those who only do that need not load what makes them (`x509.ts`). */

/** A certificate and its private key (PKCS #8), PEM. */
export interface KeyPair {
  cert: string;
  key: string;
}

/** What a PEM says, when it is a certificate whose private key the other one is; undefined for anything else. */
export function readKeyPair(pair: Partial<KeyPair> | undefined): X509Certificate | undefined {
  const cert = readCertificate(pair?.cert);
  try {
    return cert?.checkPrivateKey(createPrivateKey(pair?.key ?? '')) ? cert : undefined;
  } catch {
    return undefined;
  }
}

export function readCertificate(pem: string | undefined): X509Certificate | undefined {
  try {
    return pem ? new X509Certificate(pem) : undefined;
  } catch {
    return undefined;
  }
}

export function isSignedBy(cert: X509Certificate, authority: X509Certificate): boolean {
  return cert.checkIssued(authority) && cert.verify(authority.publicKey);
}

/** The names a certificate is for: `DNS:…`, `IP Address:…`, as node:crypto writes them, sorted. */
export function namesOf(cert: X509Certificate): string[] {
  return (cert.subjectAltName ?? '').split(', ').filter(Boolean).sort();
}
