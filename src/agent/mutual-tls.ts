import { createServer as createPlainServer, type IncomingMessage, type Server as PlainServer, type ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';

export interface AgentTls {
  ca: string;
  cert: string;
  key: string;
}

/**
 * A server for mutually authenticated TLS. Who may do what follows from the names in the peer's certificate.
 *
 * @param route handles the request of a peer with these names, or says false: it may not do that
 */
export function mutualServer(
  tls: AgentTls,
  route: (peer: Set<string>, request: IncomingMessage, response: ServerResponse) => boolean,
): Server {
  const server = createServer(
    { ...secure(tls), requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
    (request, response) => {
      const names = (request.socket as TLSSocket).getPeerCertificate().subjectaltname?.split(', ') ?? [];
      if (route(new Set(names), request, response)) return;
      const error = `the certificate of ${names.join(', ') || 'nobody'} does not allow ${request.url ?? ''}`;
      request.resume();
      response.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
    },
  );
  return unhurried(server);
}

/** What node:tls wants of the material; also for `setSecureContext` when it is renewed. */
export function secure({ ca, cert, key }: AgentTls) {
  return { ca, cert, key };
}

/** Plain HTTP; has to be bound to the loopback. */
export function plainServer(handler: (request: IncomingMessage, response: ServerResponse) => void): PlainServer {
  return unhurried(createPlainServer(handler));
}

/** Node.js ends requests that take longer than 5 min to arrive; a checkpoint may. */
function unhurried<Kind extends PlainServer | Server>(server: Kind): Kind {
  server.requestTimeout = 0;
  server.keepAliveTimeout = 60_000;
  server.headersTimeout = 61_000;
  return server;
}

/** Resolves when the server listens. @throws when the port is taken */
export function listen(server: PlainServer | Server, port: number, host?: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve());
  });
}
