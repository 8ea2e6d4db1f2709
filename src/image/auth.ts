import type { Credentials } from './docker-config.ts';
import { ImageError } from './errors.ts';

/** One challenge of a `WWW-Authenticate` header (RFC 9110, 11.6.1). */
export interface Challenge {
  /** Lower case. */
  scheme: string;
  parameters: Map<string, string>;
}

/** The challenges of a `WWW-Authenticate` header, or of several. */
export function parseChallenges(header: string | string[] | undefined): Challenge[] {
  const challenges: Challenge[] = [];
  for (const line of header === undefined ? [] : [header].flat()) {
    // A token alone begins a challenge; `key=value` belongs to the one before.
    for (const match of line.matchAll(/([A-Za-z0-9_-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/g)) {
      const [, word = '', quoted, plain] = match;
      const value = quoted?.replace(/\\(.)/g, '$1') ?? plain;
      if (value === undefined) challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      else challenges.at(-1)?.parameters.set(word.toLowerCase(), value);
    }
  }
  return challenges;
}

/** Fetches a URL with these headers: the body and the status. */
export type Fetch = (url: URL, headers: Record<string, string>) => Promise<{ status: number; body: string }>;

/** A token's life when the server names none (token specification of the distribution project: 60 s), and the margin before its end. Milliseconds. */
const defaultLife = 60_000;
const margin = 5_000;

/**
 * The `Authorization` of a registry: nothing until it asks; then Basic, or a token from the server that its challenge
 * names (docs of the distribution project, spec/auth/token.md), one for each set of scopes.
 */
export class Authenticator {
  readonly #registry: URL;
  readonly #credentials: Credentials | undefined;
  readonly #bearerToken: string | undefined;
  #basic = false;
  readonly #tokens = new Map<string, { token: string; expires: number }>();

  constructor(registry: URL, credentials: Credentials | undefined, bearerToken: string | undefined) {
    this.#registry = registry;
    this.#credentials = credentials;
    this.#bearerToken = bearerToken;
  }

  /** What to send for these scopes, as far as it is known by now. */
  authorization(scopes: readonly string[]): string | undefined {
    if (this.#bearerToken !== undefined) return `Bearer ${this.#bearerToken}`;
    if (this.#basic) return this.#basicHeader();
    const known = this.#tokens.get(scopes.join(' '));
    return known !== undefined && known.expires > Date.now() ? `Bearer ${known.token}` : undefined;
  }

  /**
   * Answers a 401 to a request that was sent with `authorization`. Returns whether there is something new to send.
   * @throws ImageError `unauthorized` when the token server refuses, `protocol` when its answer makes no sense
   */
  async answer(challenges: Challenge[], scopes: readonly string[], fetch: Fetch, sent?: string): Promise<boolean> {
    if (this.#bearerToken !== undefined) return false;
    const bearer = challenges.find((challenge) => challenge.scheme === 'bearer');
    if (bearer !== undefined) {
      const token = await this.#fetchToken(bearer, scopes, fetch);
      this.#tokens.set(scopes.join(' '), token);
      return true;
    }
    if (!challenges.some((challenge) => challenge.scheme === 'basic') || this.#credentials === undefined) return false;
    this.#basic = true;
    // Of several requests at once each gets its own 401; only one that did send the password was refused for it.
    return sent !== this.#basicHeader();
  }

  #basicHeader(): string | undefined {
    if (this.#credentials === undefined) return undefined;
    const { username, password } = this.#credentials;
    return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  }

  async #fetchToken(challenge: Challenge, scopes: readonly string[], fetch: Fetch): Promise<{ token: string; expires: number }> {
    const realm = challenge.parameters.get('realm');
    if (realm === undefined || !URL.canParse(realm)) {
      throw new ImageError(
        'protocol',
        `registry ${this.#registry.origin} asks for a token but names no token server (realm ${JSON.stringify(realm)})`,
      );
    }
    const url = new URL(realm);
    // The password goes there: never in the clear because an answer said so.
    if (url.protocol !== 'https:' && this.#registry.protocol === 'https:') {
      throw new ImageError(
        'protocol',
        `registry ${this.#registry.origin} names the token server ${url.origin}, which is not https; no password is sent there`,
      );
    }
    const service = challenge.parameters.get('service');
    if (service !== undefined) url.searchParams.set('service', service);
    const asked = challenge.parameters.get('scope');
    for (const scope of new Set([...scopes, ...(asked === undefined ? [] : asked.split(' '))])) url.searchParams.append('scope', scope);
    const basic = this.#basicHeader();
    const { status, body } = await fetch(url, basic === undefined ? {} : { authorization: basic });
    if (status !== 200) {
      const text = `token server ${url.origin} for registry ${this.#registry.origin}: ${status}: ${body.slice(0, 300).trim()}`;
      const advice =
        this.#credentials === undefined
          ? 'no credentials were given'
          : `check the credentials of ${JSON.stringify(this.#credentials.username)}`;
      throw new ImageError(status === 401 || status === 403 ? 'unauthorized' : 'unreachable', `${text}; ${advice}`, { status });
    }
    let answer: { token?: unknown; access_token?: unknown; expires_in?: unknown };
    try {
      answer = JSON.parse(body) ?? {};
    } catch {
      answer = {};
    }
    const token = answer.token ?? answer.access_token;
    if (typeof token !== 'string') throw new ImageError('protocol', `token server ${url.origin} answered 200 without a token`);
    const life = typeof answer.expires_in === 'number' ? answer.expires_in * 1000 : defaultLife;
    return { token, expires: Date.now() + Math.max(life - margin, margin) };
  }
}
