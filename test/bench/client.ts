import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { lab } from '../cluster/support/lab.ts';
import { destination, source as sourceNode } from './pods.ts';

export interface Answer {
  address: string;
  port: number;
  birth: string;
  count: number;
  /** When it had arrived. Milliseconds since 1970. */
  at: number;
}

export interface Reservations {
  source: string;
  destination: string;
}

export type ToProber =
  | { kind: 'watch'; source?: string; ports: number[]; reservations: Reservations }
  | { kind: 'leave'; address: string }
  | { kind: 'stop' };
export type FromProber = { kind: 'watching' } | { kind: 'answers'; answers: Answer[] };

/** The process of `prober.ts`, and what it has seen. */
export class Client {
  readonly #process: ChildProcess;
  readonly #reservations: () => Promise<Reservations>;
  #answers: Answer[] = [];
  #source: string | undefined;
  #ports: number[] = [];
  #changed: () => void = () => undefined;
  #ended = false;
  #watching = false;

  /** @param reservations directories in which the nodes' address management keeps a file an address; left out: the lab's */
  constructor(reservations = labReservations) {
    this.#reservations = reservations;
    this.#process = fork(join(import.meta.dirname, 'prober.ts'), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [] });
    this.#process.on('message', (message: FromProber) => {
      if (message.kind === 'answers') this.#answers.push(...message.answers);
      else {
        // What came before is of an earlier watch.
        this.#answers = [];
        this.#watching = true;
      }
      this.#changed();
    });
    this.#process.on('exit', () => {
      this.#ended = true;
      this.#changed();
    });
  }

  /**
   * Asks the source, if there is one, and every pod that appears on the destination, on all these ports.
   *
   * @param source address of the pod that is going to be moved
   */
  async watch(ports: number[], source?: string): Promise<void> {
    this.#watching = false;
    this.#source = source;
    this.#ports = ports;
    this.#send({ kind: 'watch', ports, reservations: await this.#reservations(), ...(source ? { source } : {}) });
    // The source is known to answer, so that there is a last answer before anything happens to it.
    await this.#until('the source answers on all ports', 10_000, () =>
      this.#watching && (!source || ports.every((port) => this.#of(port, true).length > 20)) ? true : undefined,
    );
  }

  /** Does not ask an address at which nobody is going to answer: being refused 200 times a second costs an eighth of a core. */
  leave(address: string): void {
    if (!this.#ended) this.#send({ kind: 'leave', address });
  }

  /** The first answer of another pod on each port, once there is one on all. */
  firstOfTarget(limit: number): Promise<Answer[]> {
    return this.#until('the target answers', limit, () => {
      const first = this.#ports.map((port) => this.#of(port, false)[0]);
      return first.every((answer) => answer !== undefined) ? first : undefined;
    });
  }

  /** The last answer of the source on each port. @param before answers at that time or later do not count */
  lastOfSource(before = Number.POSITIVE_INFINITY): Answer[] {
    return this.#ports.map((port) => {
      const answer = this.#of(port, true).findLast(({ at }) => at < before);
      if (!answer) throw new Error(`the source has never answered on port ${port}`);
      return answer;
    });
  }

  /** The longest that the source was silent between two answers, up to its last one. Milliseconds. @param before as in `lastOfSource` */
  longestSilence(before = Number.POSITIVE_INFINITY): number {
    const gaps = this.#ports.flatMap((port) => {
      const times = this.#of(port, true).flatMap(({ at }) => (at < before ? [at] : []));
      return times.slice(1).map((at, index) => at - (times[index] ?? at));
    });
    return Math.max(0, ...gaps);
  }

  stop(): void {
    if (!this.#ended) this.#send({ kind: 'stop' });
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    const gone = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()));
    this.#process.disconnect();
    await gone;
  }

  #of(port: number, source: boolean): Answer[] {
    return this.#answers.filter((answer) => answer.port === port && (answer.address === this.#source) === source);
  }

  #send(message: ToProber): void {
    this.#process.send(message);
  }

  #until<Value>(words: string, limit: number, look: () => Value | undefined): Promise<Value> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#changed = () => undefined;
        act();
      };
      const timer = setTimeout(() => settle(() => reject(new Error(`${words}: not within ${limit / 1000} s`))), limit);
      this.#changed = () => {
        if (this.#ended) return settle(() => reject(new Error(`${words}: the client's process has ended`)));
        const value = look();
        if (value !== undefined) settle(() => resolve(value));
      };
      this.#changed();
    });
  }
}

async function labReservations(): Promise<Reservations> {
  const { stateDirectory } = await lab();
  const of = (node: string) => join(stateDirectory, node, 'lib/cni/networks/lab');
  return { source: of(sourceNode), destination: of(destination) };
}
