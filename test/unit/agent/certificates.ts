import { tlsNames } from '../../../src/api/agent.ts';
import { issue, newAuthority } from '../../../src/kube/x509.ts';

export const validity = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3600_000) };
export const usages = ['serverAuth' as const, 'clientAuth' as const];

/** Another authority of that name. */
export const anotherAuthority = () => newAuthority('podferry', validity);

/** Certificates as the controller makes them. */
export const authority = await anotherAuthority();
export const certificate = (name: string, by = authority) => issue(by, { commonName: name, dnsNames: [name], usages, ...validity });
export const [agent, controller] = await Promise.all([certificate(tlsNames.agent), certificate(tlsNames.controller)]);
