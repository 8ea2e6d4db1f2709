import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Janitor } from './janitor.ts';

/** One program with a log file, which can be killed and started again. */
export class Service {
  readonly log: string;
  readonly #command: string;
  readonly #args: string[];
  readonly #janitor: Janitor;
  readonly #environment: Record<string, string>;
  #child: ChildProcess | undefined;

  /** @param environment beside the tests' own */
  constructor(janitor: Janitor, log: string, command: string, args: string[], environment: Record<string, string> = {}) {
    this.#janitor = janitor;
    this.log = log;
    this.#command = command;
    this.#args = args;
    this.#environment = environment;
  }

  /** Of the process, while it runs. */
  get pid(): number | undefined {
    return this.running ? this.#child?.pid : undefined;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  start(): void {
    const log = openSync(this.log, 'a');
    const child = spawn(this.#command, this.#args, { stdio: ['ignore', log, log], env: { ...process.env, ...this.#environment } });
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

  /** Stops it where it stands; every thread of it has stopped. */
  async pause(): Promise<void> {
    this.#child?.kill('SIGSTOP');
    const tasks = `/proc/${this.#child?.pid}/task`;
    const stands = (task: string) => /\) [tT] /.test(readFileSync(`${tasks}/${task}/stat`, 'utf8'));
    while (!readdirSync(tasks).every(stands)) await sleep(5);
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  tail(lines = 20): string {
    return readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }
}

/** A TCP port that was free a moment ago, and is none of those that systems give to clients. */
export async function quietPort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    const server = createServer();
    const listens = once(server, 'listening').then(
      () => true,
      () => false,
    );
    server.listen(port);
    if (!(await listens)) continue;
    server.close();
    await once(server, 'close');
    return port;
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
