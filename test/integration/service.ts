import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Janitor } from './janitor.ts';

/** One program with a log file, which can be killed and started again. */
export class Service {
  readonly log: string;
  readonly #command: string;
  readonly #args: string[];
  readonly #janitor: Janitor;
  #child: ChildProcess | undefined;

  constructor(janitor: Janitor, log: string, command: string, args: string[]) {
    this.#janitor = janitor;
    this.log = log;
    this.#command = command;
    this.#args = args;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  start(): void {
    const log = openSync(this.log, 'a');
    const child = spawn(this.#command, this.#args, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    const { pid } = child;
    // An `error` without a listener would end the tests; that it does not run shows soon enough.
    child.once('error', () => {});
    if (pid === undefined) throw new Error(`${this.#command} cannot be started`);
    this.#janitor.takes(pid);
    child.once('exit', () => this.#janitor.forgets(pid));
  }

  /** kill -9, and waits for the end. */
  async kill(): Promise<void> {
    if (!this.#child || !this.running) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  /** Stops it where it stands, or lets it go on. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(name);
  }

  tail(lines = 20): string {
    return readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || !address) throw new Error('no free port');
  return address.port;
}
