import { createHash } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import { Agent, type buildConnector, type Dispatcher, ProxyAgent } from 'undici';
import type { KubeConfig } from './config.ts';

/** What one request needs: where, with which headers, over which connections. */
export interface Authorized {
  server: string;
  headers: Record<string, string>;
  dispatcher: Dispatcher;
}

/** How long what a KubeConfig says is believed before it is asked again (tokens and certificates rotate). Milliseconds. */
const trustFor = 10_000;

/**
 * Connections to one API server. A new dispatcher is made only when CA, client certificate or proxy change; streams on
 * the old one end by themselves. HTTP/1.1 on purpose: a request that hangs takes one connection with it, not all, and the
 * next call opens a fresh one (client-go needs HTTP/2 pings for that).
 */
export class Connection {
  readonly #config: KubeConfig;
  #current: { authorized: Authorized; fingerprint: string; at: number } | undefined;
  #refreshing: Promise<Authorized> | undefined;

  constructor(config: KubeConfig) {
    this.#config = config;
  }

  get server(): string {
    const cluster = this.#config.getCurrentCluster();
    if (!cluster) throw new Error('the kubeconfig names no cluster');
    return cluster.server;
  }

  /** @throws Error when a token, certificate or credential plug-in cannot be read */
  async authorize(): Promise<Authorized> {
    if (this.#current && performance.now() - this.#current.at < trustFor) return this.#current.authorized;
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Asks the KubeConfig again at the next call: the API server did not take what it said before (401). */
  distrust(): void {
    if (this.#current) this.#current.at = Number.NEGATIVE_INFINITY;
  }

  async close(): Promise<void> {
    await this.#current?.authorized.dispatcher.destroy();
    this.#current = undefined;
  }

  async #refresh(): Promise<Authorized> {
    const cluster = this.#config.getCurrentCluster();
    const options: TlsAndHeaders = {};
    await this.#config.applyToHTTPSOptions(options);
    const headers = { ...options.headers };
    if (options.auth) headers.Authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    const tls: ConnectionOptions = {};
    for (const key of ['ca', 'cert', 'key', 'pfx', 'passphrase', 'servername', 'rejectUnauthorized'] as const) {
      if (options[key] !== undefined) Object.assign(tls, { [key]: options[key] });
    }
    const fingerprint = createHash('sha256')
      .update(JSON.stringify([cluster?.proxyUrl, ...Object.entries(tls).map(([key, value]) => [key, String(value)])]))
      .digest('hex');
    const before = this.#current;
    const dispatcher = before?.fingerprint === fingerprint ? before.authorized.dispatcher : newDispatcher(tls, cluster?.proxyUrl);
    const authorized = { server: this.server, headers, dispatcher };
    this.#current = { authorized, fingerprint, at: performance.now() };
    if (before && before.authorized.dispatcher !== dispatcher) void before.authorized.dispatcher.close();
    return authorized;
  }
}

interface TlsAndHeaders extends ConnectionOptions {
  headers?: Record<string, string>;
  auth?: string;
}

function newDispatcher(tls: ConnectionOptions, proxy: string | undefined): Dispatcher {
  // Deadlines are ours, per call (deadline.ts); a watch may be silent for longer than undici's own limits.
  const options = { headersTimeout: 0, bodyTimeout: 0, allowH2: false, keepAliveTimeout: 30_000 };
  // 30 s before the first TCP keepalive probe, as client-go has it: below the idle timeouts of load balancers.
  const connect = { ...tls, timeout: 5000, keepAlive: true, keepAliveInitialDelay: 30_000 } as buildConnector.BuildOptions;
  if (!proxy) return new Agent({ ...options, connect });
  if (!/^https?:/.test(proxy)) throw new Error(`the kubeconfig's proxy-url ${proxy} is no HTTP proxy; podferry knows no other`);
  return new ProxyAgent({ ...options, uri: proxy, requestTls: connect });
}
