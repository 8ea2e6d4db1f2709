import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Service } from '../integration/service.ts';

export interface Footprint {
  /** Anonymous memory: what the process itself has allocated. MiB. */
  start: number;
  peak: number;
  end: number;
  /** Resident, with the program's files. MiB. */
  peakResident: number;
  /** Seconds of a CPU. */
  cpu: number;
}

/** How often they are looked at. Milliseconds. */
const interval = 1000;

/** clock ticks a second (USER_HZ). */
const ticks = 100;

/** Looks after the memory and CPU time of processes; one that was started again counts on. */
export class Footprints {
  readonly #services: Map<string, () => Service['pid']>;
  readonly #found = new Map<string, Footprint & { pid: number; before: number; first: number }>();
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(services: Map<string, () => Service['pid']>) {
    this.#services = services;
  }

  async start(): Promise<void> {
    await this.#look();
    this.#running = this.#run();
  }

  async stop(): Promise<Record<string, Footprint>> {
    this.#stop.abort();
    await this.#running;
    await this.#look();
    const footprint = ({ start, peak, end, peakResident, cpu }: Footprint): Footprint => ({ start, peak, end, peakResident, cpu });
    return Object.fromEntries([...this.#found].map(([name, found]) => [name, footprint(found)]));
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await sleep(interval, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      await this.#look();
    }
  }

  async #look(): Promise<void> {
    for (const [name, pidOf] of this.#services) {
      const pid = pidOf();
      const now = pid === undefined ? undefined : await look(pid).catch(() => undefined);
      if (pid === undefined || !now) continue;
      const { anonymous, resident, cpu } = now;
      const before = this.#found.get(name) ?? { start: anonymous, peak: 0, end: 0, peakResident: 0, cpu: 0, pid, before: 0, first: cpu };
      if (before.pid !== pid) Object.assign(before, { pid, before: before.cpu, first: 0 });
      this.#found.set(name, {
        ...before,
        peak: Math.max(before.peak, anonymous),
        end: anonymous,
        peakResident: Math.max(before.peakResident, resident),
        cpu: Math.round((before.before + cpu - before.first) * 10) / 10,
      });
    }
  }
}

async function look(pid: number): Promise<{ anonymous: number; resident: number; cpu: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const mebibytes = (field: string) => Math.round(Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) / 1024);
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { anonymous: mebibytes('RssAnon'), resident: mebibytes('VmRSS'), cpu: (Number(fields[11]) + Number(fields[12])) / ticks };
}
