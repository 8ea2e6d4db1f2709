import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lab } from '../cluster/support/lab.ts';

/** A node, or the control plane, as this machine sees it: its first process, its cgroup, its processes, its network's counters. */
export class NodeOnHost {
  readonly initPid: number;
  /** Of the cpuacct controller, or the one of cgroup v2. */
  readonly #cgroup: string;
  readonly #unified: boolean;

  private constructor(initPid: number, cgroup: string, unified: boolean) {
    this.initPid = initPid;
    this.#cgroup = cgroup;
    this.#unified = unified;
  }

  static async open(name: string): Promise<NodeOnHost> {
    const { stateDirectory } = await lab();
    const initPid = Number(await readFile(join(stateDirectory, name, 'init.pid'), 'utf8'));
    const lines = (await readFile(`/proc/${initPid}/cgroup`, 'utf8')).split('\n').map((line) => line.split(':'));
    const accounting = lines.find(([, controllers]) => controllers?.split(',').includes('cpuacct'));
    const path = (accounting ?? lines.find(([number]) => number === '0'))?.[2] ?? '';
    // With cgroup v2 the first process sits in a cgroup below the node's.
    const cgroup = accounting ? join('/sys/fs/cgroup/cpuacct', path) : join('/sys/fs/cgroup', path, '..');
    return new NodeOnHost(initPid, cgroup, !accounting);
  }

  /** Seconds that all that ran there has used so far. */
  async cpuSeconds(): Promise<number> {
    if (!this.#unified) return Number(await readFile(join(this.#cgroup, 'cpuacct.usage'), 'utf8')) / 1e9;
    const text = await readFile(join(this.#cgroup, 'cpu.stat'), 'utf8');
    return Number(/^usage_usec (\d+)/m.exec(text)?.[1]) / 1e6;
  }

  /** Bytes that an interface of its network has sent so far. */
  async sentBytes(networkInterface: string): Promise<number> {
    const text = await readFile(`/proc/${this.initPid}/net/dev`, 'utf8');
    const counters = new RegExp(`^ *${networkInterface}: *(.*)$`, 'm').exec(text)?.[1]?.trim().split(/ +/);
    return Number(counters?.[8]);
  }

  /** All processes there, those of its pods too. Not waited for: what reads a hundred small files of the kernel's with promises takes ten times as long, from what is measured. */
  pids(): number[] {
    const pids: number[] = [];
    const visit = (directory: string): void => {
      try {
        for (const line of readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n')) if (line) pids.push(Number(line));
        for (const entry of readdirSync(directory, { withFileTypes: true })) if (entry.isDirectory()) visit(join(directory, entry.name));
      } catch {
        // It went while it was looked at.
      }
    };
    visit(this.#cgroup);
    return pids;
  }

  /** The process whose command line contains these words. */
  async pidOf(words: string): Promise<number | undefined> {
    for (const pid of this.pids()) {
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (command.replaceAll('\0', ' ').includes(words)) return pid;
    }
    return undefined;
  }
}
