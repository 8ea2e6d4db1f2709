import { readFile, writeFile } from 'node:fs/promises';
import { NodeOnHost } from './nodes.ts';
import { type Place, places, type Usage } from './results.ts';
import { WrittenBytes } from './written-bytes.ts';

const agentCommand = 'podferry/main.js agent';

interface Agents {
  source: number | undefined;
  destination: number | undefined;
}

interface Reading {
  cpu: Record<Place, number>;
  written: Record<Place, number>;
  sent: number;
}

/** What a move uses on its nodes and the control plane, from `start` to `stop`. */
export class Meter {
  readonly #nodes: Record<Place, NodeOnHost>;
  readonly #written: Record<Place, WrittenBytes>;
  readonly #agents: Agents;
  #before: Reading | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(nodes: Record<Place, NodeOnHost>, agents: Agents) {
    this.#nodes = nodes;
    this.#agents = agents;
    this.#written = eachPlace((place) => new WrittenBytes(nodes[place]));
  }

  static async start(source: string, destination: string): Promise<Meter> {
    const [onSource, onDestination, control] = await Promise.all([source, destination, 'control'].map((name) => NodeOnHost.open(name)));
    if (!onSource || !onDestination || !control) throw new Error('a node is missing');
    const agents = { source: await onSource.pidOf(agentCommand), destination: await onDestination.pidOf(agentCommand) };
    // The peaks begin anew (clear_refs, proc_pid_clear_refs(5)).
    for (const pid of [agents.source, agents.destination]) if (pid) await writeFile(`/proc/${pid}/clear_refs`, '5');
    const meter = new Meter({ source: onSource, destination: onDestination, control }, agents);
    meter.#before = await meter.#read();
    meter.#timer = setInterval(() => {
      for (const place of places) meter.#written[place].sample();
    }, 500);
    return meter;
  }

  async stop(): Promise<Usage> {
    this.#end();
    const [before, after] = [this.#before, await this.#read()];
    if (!before) throw new Error('the meter was not started');
    return {
      wireBytes: after.sent - before.sent,
      writtenBytes: eachPlace((place) => Math.max(0, after.written[place] - before.written[place])),
      cpuSeconds: eachPlace((place) => after.cpu[place] - before.cpu[place]),
      agentPeakBytes: await this.#ofAgents('VmHWM'),
      agentFileBytes: await this.#ofAgents('RssFile'),
    };
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #end(): void {
    clearInterval(this.#timer);
  }

  /** Bytes; NaN for one that has ended. */
  async #ofAgents(field: 'VmHWM' | 'RssFile'): Promise<{ source: number; destination: number }> {
    const of = async (pid: number | undefined) => {
      const status = pid ? await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '') : '';
      return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? Number.NaN) * 1024;
    };
    return { source: await of(this.#agents.source), destination: await of(this.#agents.destination) };
  }

  async #read(): Promise<Reading> {
    const { source, destination, control } = this.#nodes;
    const cpu = {} as Record<Place, number>;
    const written = {} as Record<Place, number>;
    for (const place of places) {
      cpu[place] = await this.#nodes[place].cpuSeconds();
      written[place] = this.#written[place].sample();
    }
    // What one node sends to the other only crosses the control plane's bridge; br0 itself is the control plane.
    const sent = await Promise.all([source.sentBytes('eth0'), destination.sentBytes('eth0'), control.sentBytes('br0')]);
    return { cpu, written, sent: sent.reduce((sum, bytes) => sum + bytes, 0) };
  }
}

function eachPlace<Value>(make: (place: Place) => Value): Record<Place, Value> {
  return { source: make('source'), destination: make('destination'), control: make('control') };
}
