import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Reads `+PID` and `-PID` lines; at the end of its input (also that of a test run that was killed) it kills what is still
 * listed and removes the directory. In a session of its own, so that Ctrl-C does not reach it.
 */
const script = `
pids=" "
while read -r line; do
  pid="\${line#?}"
  case "$line" in +*) pids="$pids$pid " ;; -*) pids="\${pids%% $pid *} \${pids#* $pid }" ;; esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
for _ in 1 2 3 4 5; do rm -rf "$1" 2>/dev/null && break; sleep 0.2; done
`;

/** Cleans up after a test run however that ends. */
export class Janitor {
  readonly #process: ChildProcess;

  constructor(directory: string) {
    this.#process = spawn('/bin/sh', ['-c', script, 'podferry-janitor', directory], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    // A janitor that is gone is noticed when the processes are to be ended.
    this.#process.stdin?.on('error', () => {});
    this.#process.unref();
  }

  /** From now on this process is ended with the run. */
  takes(pid: number): void {
    this.#process.stdin?.write(`+${pid}\n`);
  }

  /** The process has ended: its number may belong to another one soon. */
  forgets(pid: number): void {
    this.#process.stdin?.write(`-${pid}\n`);
  }

  /** Cleans up now. */
  async finish(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    // Nothing else may be left that keeps this process alive until then.
    this.#process.ref();
    this.#process.stdin?.end();
    await ended;
  }
}
