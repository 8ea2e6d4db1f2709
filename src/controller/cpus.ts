import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeCpu } from '../api/agent.ts';
import { comparable, type LackingNodes, missingFeatures } from '../plan/pods/cpu.ts';

export interface CpuPorts {
  /** Nodes with an agent that is ready. */
  nodes(): string[];
  /** Another string after every start of the agent there; undefined when none is ready. */
  agentOf(nodeName: string): string | undefined;
  /** @throws Error when the agent does not answer */
  ask(nodeName: string, signal: AbortSignal): Promise<NodeCpu>;
  /** Milliseconds. */
  now(): number;
}

/** A CPU changes with its machine only, and then its agent has been started again; this is for what nobody thought of. Milliseconds. */
const longestTrust = 15 * 60_000;

/** After a question that was not answered. Milliseconds. */
const retryAfter = 30_000;

/** How often it is looked which nodes have to be asked. Milliseconds. */
const round = 10_000;

/** Nodes that are asked at the same time. */
const atOnce = 8;

/** What one answer may take. Milliseconds. */
const deadline = 3000;

interface Known {
  agent: string;
  at: number;
  /** The same object for all nodes that have the same; undefined when the agent did not answer. */
  cpu: NodeCpu | undefined;
}

/**
 * The CPUs of the nodes, each asked when its agent has started and every quarter of an hour, whatever migrations there are.
 * Clusters have many nodes and few kinds of CPUs, so a comparison goes over the kinds: a migration costs no request.
 */
export class Cpus {
  readonly #ports: CpuPorts;
  readonly #known = new Map<string, Known>();
  /** What counts of a CPU, as text → the one object of it. */
  readonly #kinds = new Map<string, NodeCpu>();
  readonly #asking = new Map<string, Promise<NodeCpu | undefined>>();

  constructor(ports: CpuPorts) {
    this.#ports = ports;
  }

  /** Of one node; asked when it is not known yet. Undefined when its agent does not answer. */
  async of(nodeName: string, signal: AbortSignal): Promise<NodeCpu | undefined> {
    return this.#isDue(nodeName) ? this.#ask(nodeName, signal) : this.#known.get(nodeName)?.cpu;
  }

  /** The nodes that are known to lack something of the source's CPU, by what they lack. Other architectures are not among them: their label says it. */
  lacking(source: NodeCpu): LackingNodes[] {
    const nodesOf = new Map<NodeCpu, string[]>();
    for (const [name, { cpu }] of this.#known) {
      if (!cpu || cpu.architecture !== source.architecture) continue;
      const nodes = nodesOf.get(cpu);
      if (nodes) nodes.push(name);
      else nodesOf.set(cpu, [name]);
    }
    return [...nodesOf].flatMap(([cpu, nodes]) => {
      const missing = missingFeatures(source, cpu);
      const sure = missing.length ? nodes.filter((name) => !this.#hasStartedAgain(name)) : [];
      return sure.length ? [{ nodes: sure.sort(), missing }] : [];
    });
  }

  /** Keeps what is known fresh until the signal aborts. */
  async follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.refresh(signal);
      await sleep(round, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One round: asks those that are due, some at a time, and forgets nodes without an agent. */
  async refresh(signal: AbortSignal): Promise<void> {
    const nodes = this.#ports.nodes();
    const there = new Set(nodes);
    for (const name of this.#known.keys()) if (!there.has(name)) this.#known.delete(name);
    const due = nodes.filter((name) => this.#isDue(name));
    const workers = Array.from({ length: Math.min(atOnce, due.length) }, async () => {
      for (let name = due.pop(); name !== undefined && !signal.aborted; name = due.pop()) await this.#ask(name, signal);
    });
    await Promise.all(workers);
    const used = new Set([...this.#known.values()].map(({ cpu }) => cpu));
    for (const [text, cpu] of this.#kinds) if (!used.has(cpu)) this.#kinds.delete(text);
  }

  /** Its machine may be another since it was asked. */
  #hasStartedAgain(nodeName: string): boolean {
    const agent = this.#ports.agentOf(nodeName);
    return agent !== undefined && agent !== this.#known.get(nodeName)?.agent;
  }

  #isDue(nodeName: string): boolean {
    const agent = this.#ports.agentOf(nodeName);
    if (agent === undefined) return false;
    const known = this.#known.get(nodeName);
    return !known || known.agent !== agent || this.#ports.now() - known.at > (known.cpu ? longestTrust : retryAfter);
  }

  #ask(nodeName: string, signal: AbortSignal): Promise<NodeCpu | undefined> {
    const under = this.#asking.get(nodeName);
    if (under) return under;
    const agent = this.#ports.agentOf(nodeName) ?? '';
    const asked = this.#ports
      .ask(nodeName, AbortSignal.any([signal, AbortSignal.timeout(deadline)]))
      .then(
        (cpu) => this.#kindOf(cpu),
        () => undefined,
      )
      .then((cpu) => {
        if (!signal.aborted) this.#known.set(nodeName, { agent, at: this.#ports.now(), cpu });
        return cpu;
      })
      .finally(() => this.#asking.delete(nodeName));
    this.#asking.set(nodeName, asked);
    return asked;
  }

  #kindOf(cpu: NodeCpu): NodeCpu {
    const kind = comparable(cpu);
    const text = JSON.stringify(kind);
    const known = this.#kinds.get(text);
    if (known) return known;
    this.#kinds.set(text, kind);
    return kind;
  }
}
