import { readFileSync } from 'node:fs';
import type { NodeOnHost } from './nodes.ts';

interface Seen {
  bytes: number;
  /** Its parent will take what it wrote over into its own account when it ends (wait(2)). */
  inherited: boolean;
}

/**
 * What the processes of a node have written to files on disk: `write_bytes` of /proc/PID/io, which counts pages when they
 * become dirty, with what ended children had. Block devices' and the kernel's own counters are the whole machine's.
 */
export class WrittenBytes {
  readonly #node: NodeOnHost;
  #seen = new Map<string, Seen>();
  /** Of processes that have ended without a parent in the node that waited for them. */
  #ofEnded = 0;

  constructor(node: NodeOnHost) {
    this.#node = node;
  }

  /** To be called twice a second, or what processes wrote just before they ended is missed. The sum so far, from an arbitrary beginning. */
  sample(): number {
    const pids = this.#node.pids();
    const here = new Set(pids);
    const now = new Map<string, Seen>();
    for (const pid of pids) {
      try {
        const [io, stat] = ['io', 'stat'].map((name) => readFileSync(`/proc/${pid}/${name}`, 'utf8')) as [string, string];
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        const parent = Number(fields[1]);
        // The node's first process ignores its children's ends.
        const inherited = here.has(parent) && parent !== this.#node.initPid;
        // A number together with the time of its beginning (field 22 of proc_pid_stat(5)) is not given twice.
        now.set(`${pid}/${fields[19]}`, { bytes: Number(/^write_bytes: (\d+)/m.exec(io)?.[1]), inherited });
      } catch {
        // It has just ended; what was seen of it last stands.
      }
    }
    for (const [key, { bytes, inherited }] of this.#seen) if (!now.has(key) && !inherited) this.#ofEnded += bytes;
    this.#seen = now;
    return [...now.values()].reduce((sum, { bytes }) => sum + bytes, this.#ofEnded);
  }
}
