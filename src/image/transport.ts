import type { Readable } from 'node:stream';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher, request } from 'undici';
import { codeOf, isAbort, messageOf } from '../util/errors.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { Authenticator, parseChallenges } from './auth.ts';
import type { Credentials } from './docker-config.ts';
import { ImageError, type ImageErrorCode } from './errors.ts';
import { readLimited } from './read-limited.ts';

export interface RegistryOptions {
  /** Host, or host:port. */
  registry: string;
  scheme: 'https' | 'http';
  /** PEM. With it, only these authorities are trusted for the registry itself. */
  ca?: string;
  /** PEM, for mutual TLS. */
  clientCert?: string;
  clientKey?: string;
  /** The name that the registry's certificate must have, if it is another than the host. */
  servername?: string;
  credentials?: Credentials;
  /** Sent as it is, instead of the credentials. */
  bearerToken?: string;
  /** Ends everything that this client does. */
  signal?: AbortSignal;
  /** Milliseconds. */
  timeouts?: {
    /** TCP and TLS; default 10 s. */
    connectMs?: number;
    /** Until the answer begins, or without progress while sending; default 60 s. */
    headersMs?: number;
    /** Without progress while receiving; default 60 s. */
    bodyMs?: number;
    /** For completing an upload: a registry may hash or move it then; default 10 min. */
    commitMs?: number;
  };
}

export interface TransportRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  /** A path of the registry, or an URL from one of its answers. */
  target: string | URL;
  /** For messages: `pushing the manifest of a/b:c`. */
  doing: string;
  /** What a token must allow: `repository:NAME:pull`. */
  scopes: readonly string[];
  /** Statuses that are no failure. */
  expect: readonly number[];
  headers?: Record<string, string>;
  body?: Buffer | Readable | AsyncIterable<Buffer>;
  signal?: AbortSignal | undefined;
  headersMs?: number | undefined;
}

export type TransportResponse = Dispatcher.ResponseData & { url: URL };

const redirects = new Set([301, 302, 303, 307, 308]);

/** HTTP to one registry: TLS, credentials, redirects, deadlines, and failures in words. */
export class Transport {
  readonly base: URL;
  readonly #options: RegistryOptions;
  readonly #agent: Agent;
  readonly #foreign: Agent;
  readonly #auth: Authenticator;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.base = new URL(`${options.scheme}://${options.registry}`);
    const { connectMs = 10_000, headersMs = 60_000, bodyMs = 60_000 } = options.timeouts ?? {};
    const { ca, clientCert: cert, clientKey: key, servername } = options;
    // Bulk data over one HTTP/1.1 connection each: HTTP/2's windows only slow a single stream down.
    const common = { headersTimeout: headersMs, bodyTimeout: bodyMs, allowH2: false };
    this.#agent = new Agent({
      ...common,
      connect: { timeout: connectMs, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }), ...(servername && { servername }) },
    });
    // Storage and token servers elsewhere: no client certificate, and the public authorities besides.
    this.#foreign = new Agent({ ...common, connect: { timeout: connectMs, ...(ca && { ca: [...rootCertificates, ca] }) } });
    this.#auth = new Authenticator(this.base, options.credentials, options.bearerToken);
  }

  /** Closes the connections; what is under way fails. */
  async close(): Promise<void> {
    await Promise.all([this.#agent.destroy(), this.#foreign.destroy()]);
  }

  /**
   * Sends a request and returns an answer with one of the expected statuses; its body must be read or dumped.
   * @throws ImageError any code
   */
  async send(wanted: TransportRequest): Promise<TransportResponse> {
    const sent = this.#auth.authorization(wanted.scopes);
    let response = await this.#sendOnce(wanted);
    // A body that is a stream has been read by now, or in part: only the caller could send it again.
    const repeatable = wanted.body === undefined || Buffer.isBuffer(wanted.body);
    if (response.statusCode === 401 && repeatable && response.url.origin === this.base.origin) {
      const challenges = parseChallenges(response.headers['www-authenticate']);
      const answered = await this.#auth.answer(challenges, wanted.scopes, (url, headers) => this.#fetchText(url, headers, wanted), sent);
      if (answered) {
        await response.body.dump();
        response = await this.#sendOnce(wanted);
      }
    }
    if (!wanted.expect.includes(response.statusCode)) throw await this.#refusal(wanted, response);
    return response;
  }

  /** One exchange, redirects followed. */
  async #sendOnce(wanted: TransportRequest): Promise<TransportResponse> {
    let url = new URL(wanted.target, this.base);
    for (let hops = 0; ; hops++) {
      const response = await this.#exchange(wanted, url);
      const location = response.headers.location;
      const followed =
        (wanted.method === 'GET' || wanted.method === 'HEAD') && redirects.has(response.statusCode) && typeof location === 'string';
      if (!followed) return { ...response, url };
      await response.body.dump();
      if (hops === 5 || !URL.canParse(location, url.href))
        throw this.#error('protocol', wanted, `redirected too often or nowhere (${location})`);
      url = new URL(location, url);
    }
  }

  async #exchange(wanted: TransportRequest, url: URL, retried = false): Promise<Dispatcher.ResponseData> {
    const own = url.origin === this.base.origin;
    const authorization = own ? this.#auth.authorization(wanted.scopes) : undefined;
    const signal = this.#signal(wanted.signal);
    try {
      return await request(url, {
        method: wanted.method,
        dispatcher: own ? this.#agent : this.#foreign,
        headers: { 'user-agent': 'podferry', ...wanted.headers, ...(authorization && { authorization }) },
        // undici takes iterables too (lib/core/request.js), and writes the next piece when the last has left; its types say nothing of it.
        ...(wanted.body !== undefined && { body: wanted.body as Buffer | Readable }),
        ...(signal && { signal }),
        ...(wanted.headersMs !== undefined && { headersTimeout: wanted.headersMs }),
        highWaterMark: bulkHighWaterMark,
      });
    } catch (error) {
      // A kept connection that the registry closed meanwhile shows only in use. None of these has happened twice by a retry.
      const stale = codeOf(error) === 'UND_ERR_SOCKET' || codeOf(error) === 'ECONNRESET';
      if (stale && !retried && wanted.body === undefined && ['GET', 'HEAD', 'POST'].includes(wanted.method))
        return this.#exchange(wanted, url, true);
      throw this.failure(wanted, error);
    }
  }

  async #fetchText(url: URL, headers: Record<string, string>, wanted: TransportRequest): Promise<{ status: number; body: string }> {
    const signal = this.#signal(wanted.signal);
    try {
      const dispatcher = url.origin === this.base.origin ? this.#agent : this.#foreign;
      const response = await request(url, { dispatcher, headers: { 'user-agent': 'podferry', ...headers }, ...(signal && { signal }) });
      return { status: response.statusCode, body: await readText(response.body, 256 * 1024) };
    } catch (error) {
      throw this.failure({ ...wanted, doing: `fetching a token from ${url.origin} for ${wanted.doing}` }, error);
    }
  }

  #signal(own: AbortSignal | undefined): AbortSignal | undefined {
    const signals = [own, this.#options.signal].filter((signal) => signal !== undefined);
    return signals.length > 1 ? AbortSignal.any(signals) : signals[0];
  }

  #error(
    code: ImageErrorCode,
    wanted: Pick<TransportRequest, 'doing'>,
    text: string,
    options: { cause?: unknown; status?: number } = {},
  ): ImageError {
    return new ImageError(code, `registry ${this.base.origin}, ${wanted.doing}: ${text}`, options);
  }

  /** An exchange that broke, before or while a body flowed. */
  failure(wanted: Pick<TransportRequest, 'doing' | 'signal'>, error: unknown): ImageError {
    if (error instanceof ImageError) return error;
    const text = messageOf(error);
    // Without the signal: a body of ours was closed before its end by whoever made it.
    if (this.#signal(wanted.signal)?.aborted || isAbort(error)) return this.#error('aborted', wanted, `stopped: ${text}`, { cause: error });
    const code = codeOf(error) ?? '';
    if (/^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_SSL|EPROTO|HOSTNAME_MISMATCH|INVALID_CA)/.test(code)) {
      const advice = /SELF_SIGNED|UNABLE_TO|DEPTH_ZERO/.test(code)
        ? 'its certificate is of an authority that is not trusted here: give its CA'
        : /ALTNAME|HOSTNAME/.test(code)
          ? 'its certificate is for another name'
          : /EXPIRED|NOT_YET/.test(code)
            ? 'its certificate is not valid now: renew it, and check both clocks'
            : 'check both certificates, and whether it speaks TLS on this port';
      return this.#error('tls', wanted, `TLS failed (${code}: ${text}); ${advice}`, { cause: error });
    }
    // TLS 1.3 ends the handshake before the server has judged a client's certificate; Node.js servers then just hang up.
    const hungUp = this.base.protocol === 'https:' && (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET');
    const advice = hungUp ? '; it hung up: if it wants client certificates, it may not accept the one it got' : '';
    return this.#error('unreachable', wanted, `no complete answer (${code === '' ? '' : `${code}: `}${text})${advice}`, { cause: error });
  }

  /** An answer with a status that was not hoped for. */
  async #refusal(wanted: TransportRequest, response: TransportResponse): Promise<ImageError> {
    const status = response.statusCode;
    const body = await readText(response.body, 64 * 1024).catch(() => '');
    const reported = ociErrors(body);
    const said =
      reported.map((entry) => [entry.code, entry.message].filter(Boolean).join(': ')).join('; ') ||
      body.replace(/\s+/g, ' ').trim().slice(0, 300);
    const has = (code: string) => reported.some((entry) => entry.code === code);
    let code: ImageErrorCode = 'protocol';
    let advice = '';
    if (status === 507 || /no space left|quota exceeded/i.test(said))
      [code, advice] = ['no-space', 'the registry is full, or the quota used up'];
    else if (status === 401)
      [code, advice] = [
        'unauthorized',
        this.#options.credentials ? 'check user name and password' : 'it asks for credentials, and none were given',
      ];
    else if (status === 403 || has('DENIED')) [code, advice] = ['denied', 'these credentials may not do this here'];
    else if (has('DIGEST_INVALID')) code = 'digest-mismatch';
    else if (status === 404) code = 'not-found';
    else if (status === 413) [code, advice] = ['too-large', 'raise the limit of the registry or of the proxy before it'];
    else if (status === 429 || status >= 500) [code, advice] = ['unreachable', 'the registry is in trouble or overloaded; try again later'];
    else if (status === 405 || status === 501) advice = 'the registry does not support this operation';
    return this.#error(code, wanted, `${status}${said === '' ? '' : `: ${said}`}${advice === '' ? '' : `; ${advice}`}`, { status });
  }
}

/** The `errors` of a registry's answer (distribution specification v1.1, "Error Codes"). */
function ociErrors(body: string): { code?: string; message?: string }[] {
  try {
    const { errors } = JSON.parse(body) as { errors?: unknown };
    if (!Array.isArray(errors)) return [];
    return errors.map((entry: Record<string, unknown> | null) => ({
      ...(typeof entry?.code === 'string' && { code: entry.code }),
      ...(typeof entry?.message === 'string' && { message: entry.message }),
    }));
  } catch {
    return [];
  }
}

async function readText(body: Readable, limit: number): Promise<string> {
  return (await readLimited(body, limit))?.toString('utf8') ?? '';
}
