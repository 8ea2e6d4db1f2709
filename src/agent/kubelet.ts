import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';

export interface KubeletOptions {
  /** The node's own address, as its kubelet listens on it. */
  host: string;
  port: number;
  tokenFile: string;
  /** CA that signed the kubelet's serving certificate; undefined: it is not checked. */
  caFile?: string;
}

/** The kubelet of this node, of which only the checkpoint API is used (`create` on `nodes/checkpoint`). */
export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #agent: Agent;

  private constructor(options: KubeletOptions, agent: Agent) {
    this.#options = options;
    this.#agent = agent;
  }

  static async connect(options: KubeletOptions): Promise<Kubelet> {
    const tls = options.caFile ? { ca: await readFile(options.caFile, 'utf8') } : { rejectUnauthorized: false };
    return new Kubelet(options, new Agent({ connect: tls, headersTimeout: 0, bodyTimeout: 0 }));
  }

  /**
   * Checkpoints a container (kubelet API `POST /checkpoint/NAMESPACE/POD/CONTAINER`, KEP-2008).
   *
   * @param timeout what the runtime may take, seconds
   * @returns path of the archive on this node
   * @throws Error with the runtime's own words when CRIU refuses (500), with the kubelet's for an unknown pod (404)
   */
  async checkpoint(namespace: string, pod: string, container: string, timeout: number, signal: AbortSignal): Promise<string> {
    const token = (await readFile(this.#options.tokenFile, 'utf8')).trim();
    const path = [namespace, pod, container].map(encodeURIComponent).join('/');
    const host = this.#options.host.includes(':') ? `[${this.#options.host}]` : this.#options.host;
    const response = await request(`https://${host}:${this.#options.port}/checkpoint/${path}?timeout=${timeout}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      dispatcher: this.#agent,
      signal,
    });
    const text = await response.body.text();
    if (response.statusCode !== 200) throw new Error(`the kubelet's checkpoint API answered ${response.statusCode}: ${text.trim()}`);
    const archive = (JSON.parse(text) as { items?: string[] }).items?.[0];
    if (!archive) throw new Error(`the kubelet's checkpoint API named no archive: ${text.trim()}`);
    return archive;
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }
}
