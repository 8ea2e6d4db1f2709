import { tlsNames } from '../api/agent.ts';
import { RegistryClient } from '../image/registry-client.ts';
import type { AgentTls } from './mutual-tls.ts';

interface Kept {
  client: RegistryClient;
  tls: AgentTls;
  users: number;
  /** When the other end was last heard of. Milliseconds, of the process. */
  heardAt: number;
  /** Closes it. */
  timer?: NodeJS.Timeout;
}

/** How long connections that nobody uses are kept: from memory sent ahead to the freeze. Milliseconds. */
const keptFor = 10_000;

/** An idle connection is closed after four (undici) or five seconds (Node.js); until then it is taken to be there. Milliseconds. */
const freshFor = 2000;

/** How long a pod that is about to be frozen waits for them to be opened. Milliseconds. */
const readyWithin = 1000;

/**
 * Connections to other agents. To open one takes up to 80 ms where CRIU is at work on the same cores, so those of a round are still
 * there at the freeze, or are opened before it.
 */
export class AgentConnections {
  readonly #tls: () => AgentTls;
  /** By address. */
  readonly #kept = new Map<string, Kept>();

  /** @param tls the certificate to show to other agents, as it is now */
  constructor(tls: () => AgentTls) {
    this.#tls = tls;
  }

  /**
   * Opens connections to an agent, as many as are used at a time. Never fails: whoever sends something hears of what is wrong.
   *
   * @param address HOST:PORT
   */
  ready(address: string, count: number, signal: AbortSignal): Promise<void> {
    return this.#use(address, (kept) => knock(kept, count, AbortSignal.any([signal, AbortSignal.timeout(readyWithin)])));
  }

  /** Does something with a client of the agent at an address. What it begins is ended by the signals it is given. */
  use<Value>(address: string, signal: AbortSignal, work: (client: RegistryClient) => Promise<Value>): Promise<Value> {
    return this.#use(address, (kept) => {
      // It is there, then, when there is something to be sent.
      if (performance.now() - kept.heardAt > freshFor) void knock(kept, 1, signal);
      return work(kept.client);
    });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#kept].map(([address, kept]) => this.#drop(address, kept)));
  }

  async #use<Value>(address: string, work: (kept: Kept) => Promise<Value>): Promise<Value> {
    const kept = this.#of(address);
    kept.users++;
    clearTimeout(kept.timer);
    try {
      return await work(kept);
    } finally {
      kept.users--;
      if (kept.users === 0) kept.timer = setTimeout(() => void this.#drop(address, kept), keptFor).unref();
    }
  }

  /** Certificates rotate; who uses the connections of the one before goes on with them. */
  #of(address: string): Kept {
    const tls = this.#tls();
    const known = this.#kept.get(address);
    if (known && known.tls.cert === tls.cert && known.tls.ca === tls.ca) return known;
    const { ca, cert: clientCert, key: clientKey } = tls;
    const client = new RegistryClient({ registry: address, scheme: 'https', ca, clientCert, clientKey, servername: tlsNames.agent });
    const kept = { client, tls, users: 0, heardAt: Number.NEGATIVE_INFINITY };
    this.#kept.set(address, kept);
    return kept;
  }

  async #drop(address: string, kept: Kept): Promise<void> {
    clearTimeout(kept.timer);
    if (this.#kept.get(address) === kept) this.#kept.delete(address);
    await kept.client.close();
  }
}

async function knock(kept: Kept, count: number, signal: AbortSignal): Promise<void> {
  const pings = await Promise.allSettled(Array.from({ length: count }, () => kept.client.ping({ signal })));
  if (pings.some(({ status }) => status === 'fulfilled')) kept.heardAt = performance.now();
}
