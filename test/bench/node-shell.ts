import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { labDirectory } from '../cluster/support/lab.ts';

/**
 * A shell in a node that stays open, in the node's cgroups, so that what it runs is counted there and no command waits for
 * namespaces to be entered.
 */
export class NodeShell {
  readonly #shell: ChildProcessWithoutNullStreams;
  #output = '';
  #errors = '';
  #changed: () => void = () => undefined;
  #ended = false;

  constructor(node: string) {
    const joinCgroups = 'for group in $(cat /run/lab/cgroups); do echo $$ >"$group/cgroup.procs"; done; exec bash';
    this.#shell = spawn(join(labDirectory, 'node'), [node, 'bash', '-c', joinCgroups]);
    this.#shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#changed();
    });
    this.#shell.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    this.#shell.stdin.on('error', () => undefined);
    this.#shell.on('close', () => {
      this.#ended = true;
      this.#changed();
    });
  }

  /** Runs lines of bash; what they print, and how long they took in milliseconds. @throws Error with what they wrote to standard error */
  async run(script: string): Promise<{ output: string; milliseconds: number }> {
    const mark = randomUUID();
    this.#output = '';
    this.#errors = '';
    this.#shell.stdin.write(
      `began=$EPOCHREALTIME\n( set -euo pipefail\n${script}\n) </dev/null\nprintf '\\n%s %s %s\\n' ${mark} $? $(( \${EPOCHREALTIME/./} - \${began/./} ))\n`,
    );
    const end = new RegExp(`^${mark} (\\d+) (\\d+)$`, 'm');
    await new Promise<void>((resolve) => {
      this.#changed = () => {
        if (this.#ended || end.test(this.#output)) resolve();
      };
      this.#changed();
    });
    const [, status, microseconds] = end.exec(this.#output) ?? [];
    if (status !== '0') throw new Error(`${script.trim().split('\n')[0]}: ${this.#errors.trim() || `ended with ${status ?? 'the shell'}`}`);
    return { output: this.#output.replace(end, '').trim(), milliseconds: Number(microseconds) / 1000 };
  }

  close(): void {
    this.#shell.stdin.end();
  }
}
