import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { messageOf } from './errors.ts';

/** Checks by name; one that throws, or gives a text, is why the process is not ready. */
export type ReadyChecks = Record<string, () => string | undefined>;

export interface Probes {
  readonly port: number;
  close(): Promise<void>;
}

/** Every process's own metrics registry, with Node.js's default metrics in it. */
export function newMetrics(): Registry {
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  return metrics;
}

/**
 * Plain HTTP for the kubelet and for Prometheus: `/healthz` answers while the event loop turns, `/readyz` when every check
 * holds (its body names those that do not), `/metrics` in the text format.
 */
export async function serveProbes(port: number, host: string | undefined, metrics: Registry, checks: ReadyChecks): Promise<Probes> {
  const server = createServer(async (request, response) => {
    const send = (status: number, text: string, type = 'text/plain; charset=utf-8') => {
      response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' }).end(text);
    };
    try {
      switch ((request.url ?? '').split('?')[0]) {
        case '/healthz':
          return send(200, 'ok\n');
        case '/readyz': {
          const problems = Object.entries(checks).flatMap(([name, check]) => {
            const problem = attempt(check);
            return problem === undefined ? [] : [`${name}: ${problem}`];
          });
          return problems.length ? send(503, `${problems.join('\n')}\n`) : send(200, 'ok\n');
        }
        case '/metrics':
          return send(200, await metrics.metrics(), metrics.contentType);
        default:
          return send(404, 'there are /healthz, /readyz and /metrics\n');
      }
    } catch (error) {
      send(500, `${messageOf(error)}\n`);
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function attempt(check: () => string | undefined): string | undefined {
  try {
    return check();
  } catch (error) {
    return messageOf(error);
  }
}
