import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** A counter's process seen from outside of its node. */
interface Seen {
  pid: number;
  frozen: boolean;
}

/** Between two looks. Milliseconds. */
const interval = 25;

/**
 * Looks all the time how many processes of the counter run on this machine (all nodes are namespaces of it) without being
 * frozen. More than one at a time, for two looks in a row, is the one thing that must never be.
 */
export class Watcher {
  /** The most that ran in two looks in a row. */
  most = 0;
  #others = 0;
  #stop = false;
  #running: Promise<void> | undefined;
  /** pid → its freezer's state file; processes that are no counters are remembered as such. */
  readonly #known = new Map<string, string | undefined>();

  /** Counters of others that run now are not this trial's; `own` of them are. */
  async start(own: number): Promise<void> {
    this.#others = (await this.#look()).filter(({ frozen }) => !frozen).length - own;
    this.#running = this.#watch();
  }

  async stop(): Promise<number> {
    this.#stop = true;
    await this.#running;
    return this.most;
  }

  async #watch(): Promise<void> {
    let before = 0;
    while (!this.#stop) {
      const now = (await this.#look()).filter(({ frozen }) => !frozen).length - this.#others;
      this.most = Math.max(this.most, Math.min(before, now));
      before = now;
      await sleep(interval);
    }
  }

  async #look(): Promise<Seen[]> {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const here = new Set(pids);
    for (const pid of this.#known.keys()) if (!here.has(pid)) this.#known.delete(pid);
    const seen: Seen[] = [];
    for (const pid of pids) {
      try {
        if (!this.#known.has(pid)) this.#known.set(pid, await freezerOf(pid));
        const state = this.#known.get(pid);
        if (!state) continue;
        const frozen = (await readFile(state, 'utf8')).trim() !== 'THAWED' || !(await canRun(pid));
        seen.push({ pid: Number(pid), frozen });
      } catch {
        // It ended between two looks; or it became another program: look at it afresh.
        this.#known.delete(pid);
      }
    }
    return seen;
  }
}

/**
 * A thawed process does nothing any more when it is ending or SIGKILL waits for it (a frozen container is thawed only for
 * that), and nothing yet while CRIU, which restores it, has it stopped. proc_pid_stat(5), proc_pid_status(5).
 */
async function canRun(pid: string): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const state = /^State:\t(\w)/m.exec(status)?.[1] ?? '';
  const killed = [...status.matchAll(/^(?:SigPnd|ShdPnd):\t([0-9a-f]+)/gm)].some(([, set]) => (BigInt(`0x${set}`) >> 8n) & 1n);
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const flags = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6]);
  const exiting = 0x4;
  return !killed && !(flags & exiting) && !['Z', 'X', 't', 'T'].includes(state);
}

/** Where the state of the process's freezer stands (cgroup v1), when it is a counter of this lab. */
async function freezerOf(pid: string): Promise<string | undefined> {
  const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0')[0];
  if (command !== '/counter') return undefined;
  const cgroup = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).split('\n').find((line) => line.includes(':freezer:'));
  const path = cgroup?.split(':')[2];
  return path?.includes(`/podferry-lab${process.env.PODFERRY_LAB_NUMBER ?? ''}-`)
    ? `/sys/fs/cgroup/freezer${path}/freezer.state`
    : undefined;
}
