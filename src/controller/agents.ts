import { Agent, request } from 'undici';
import {
  type AgentRecords,
  type NodeCpu,
  type Observed,
  type SourceRequest,
  type SourceView,
  type TargetRequest,
  type TargetView,
  tlsNames,
} from '../api/agent.ts';

export interface AgentsOptions {
  /** Address (host:port) of the agent on a node, or undefined when none is ready there. */
  addressOf(nodeName: string): string | undefined;
  /** What one call may take, beside the time it is asked to wait. Milliseconds. */
  deadline: number;
}

/** Certificates for the calls; replaced as a whole when they rotate. */
export interface ClientTls {
  ca: string;
  cert: string;
  key: string;
}

type Side = 'sources' | 'targets';

/** The controller's way to the agents: JSON over mutually authenticated TLS. */
export class Agents {
  readonly #options: AgentsOptions;
  #dispatchers: { calls: Agent; waits: Agent } | undefined;

  constructor(options: AgentsOptions) {
    this.#options = options;
  }

  /** Takes new certificates into use; calls under way end with the old ones. */
  setTls(tls: ClientTls): void {
    const before = this.#dispatchers;
    const options = { connect: { ...tls, servername: tlsNames.agent, timeout: 3000 }, headersTimeout: 0, bodyTimeout: 0 };
    // Each migration on a node keeps a wait open there, however many they are; no call may have to stand behind those.
    this.#dispatchers = { calls: new Agent({ ...options, connections: 16 }), waits: new Agent(options) };
    void before?.calls.close();
    void before?.waits.close();
  }

  addressOf(nodeName: string): string | undefined {
    return this.#options.addressOf(nodeName);
  }

  source(nodeName: string, uid: string, signal: AbortSignal): Promise<Observed<SourceView>> {
    return this.#observe<SourceView>(nodeName, 'sources', uid, signal);
  }

  destination(nodeName: string, uid: string, signal: AbortSignal): Promise<Observed<TargetView>> {
    return this.#observe<TargetView>(nodeName, 'targets', uid, signal);
  }

  async setSource(nodeName: string, uid: string, body: SourceRequest, signal: AbortSignal): Promise<SourceView> {
    return (await this.#call(nodeName, 'PUT', `/v1/sources/${uid}`, body, signal)) as SourceView;
  }

  async setTarget(nodeName: string, uid: string, body: TargetRequest, signal: AbortSignal): Promise<TargetView> {
    return (await this.#call(nodeName, 'PUT', `/v1/targets/${uid}`, body, signal)) as TargetView;
  }

  /** @throws Error when the agent does not answer */
  async records(nodeName: string, signal: AbortSignal): Promise<AgentRecords> {
    return (await this.#call(nodeName, 'GET', '/v1/records', undefined, signal)) as AgentRecords;
  }

  /** @throws Error when the agent does not answer, or does not know the question */
  async cpu(nodeName: string, signal: AbortSignal): Promise<NodeCpu> {
    return (await this.#call(nodeName, 'GET', '/v1/cpu', undefined, signal)) as NodeCpu;
  }

  async forget(side: Side, nodeName: string, uid: string, signal: AbortSignal): Promise<void> {
    await this.#call(nodeName, 'DELETE', `/v1/${side}/${uid}`, undefined, signal);
  }

  /** Resolves when the view is past the revision, or after `limit` milliseconds. */
  async nextChange(side: Side, nodeName: string, uid: string, revision: number, limit: number, signal: AbortSignal): Promise<void> {
    await this.#call(nodeName, 'GET', `/v1/${side}/${uid}?revision=${revision}&wait=${limit}`, undefined, signal, limit);
  }

  async close(): Promise<void> {
    await Promise.all([this.#dispatchers?.calls.destroy(), this.#dispatchers?.waits.destroy()]);
  }

  async #observe<View>(nodeName: string, side: Side, uid: string, signal: AbortSignal): Promise<Observed<View>> {
    try {
      return { reachable: true, view: (await this.#call(nodeName, 'GET', `/v1/${side}/${uid}`, undefined, signal)) as View };
    } catch (error) {
      return { reachable: false, message: error instanceof Error ? error.message : String(error) };
    }
  }

  async #call(
    nodeName: string,
    method: 'GET' | 'PUT' | 'DELETE',
    path: string,
    body: object | undefined,
    signal: AbortSignal,
    waits = 0,
  ): Promise<unknown> {
    const address = this.#options.addressOf(nodeName);
    if (!address) throw new Error(`no podferry agent is ready on node ${nodeName}`);
    if (!this.#dispatchers) throw new Error('the controller has no certificate yet');
    const response = await request(`https://${address}${path}`, {
      method,
      dispatcher: waits > 0 ? this.#dispatchers.waits : this.#dispatchers.calls,
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#options.deadline + waits)]),
      ...(body ? { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } } : {}),
    });
    const text = await response.body.text();
    if (response.statusCode >= 300) throw new Error(`the agent on node ${nodeName} answered ${response.statusCode}: ${text.slice(0, 500)}`);
    return text ? JSON.parse(text) : undefined;
  }
}
