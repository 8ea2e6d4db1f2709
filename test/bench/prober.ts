/**
 * The client outside: a process of its own (`client.ts` starts it), which asks every address every 5 ms over a connection
 * that it keeps, and says when it was answered. New pods are found by the reservations of the destination's address
 * management, since the API tells an address up to a second late.
 */
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { Answer, FromProber, ToProber } from './client.ts';

const interval = 5;
/** A connection that is not made by then was lost on the way to a pod that is just being set up: the kernel would wait a second. */
const connectTimeout = 50;
const mostConnecting = 10;

class Target {
  readonly #address: string;
  readonly #port: number;
  readonly #answered: (answer: Answer) => void;
  readonly #connecting = new Set<Socket>();
  #socket: Socket | undefined;
  #waiting = false;

  constructor(address: string, port: number, answered: (answer: Answer) => void) {
    this.#address = address;
    this.#port = port;
    this.#answered = answered;
  }

  tick(): void {
    if (this.#socket) {
      if (!this.#waiting) this.#ask(this.#socket);
    } else if (this.#connecting.size < mostConnecting) this.#connect();
  }

  close(): void {
    this.#socket?.destroy();
    for (const socket of this.#connecting) socket.destroy();
  }

  #connect(): void {
    const socket = connect({ host: this.#address, port: this.#port, noDelay: true });
    this.#connecting.add(socket);
    const timer = setTimeout(() => socket.destroy(), connectTimeout);
    let text = '';
    socket.setEncoding('latin1');
    socket.on('connect', () => {
      clearTimeout(timer);
      this.#connecting.delete(socket);
      if (this.#socket) {
        socket.destroy();
        return;
      }
      this.#socket = socket;
      this.#ask(socket);
    });
    socket.on('data', (data: string) => {
      text += data;
      const [, birth, count] = /\r\n\r\n\{"birth":"([0-9a-f]+)","count":(\d+)\}/.exec(text) ?? [];
      if (!birth) return;
      text = '';
      this.#waiting = false;
      this.#answered({ address: this.#address, port: this.#port, birth, count: Number(count), at: Date.now() });
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      this.#connecting.delete(socket);
      if (this.#socket === socket) this.#socket = undefined;
    });
  }

  #ask(socket: Socket): void {
    this.#waiting = true;
    socket.write('GET /ping HTTP/1.1\r\nHost: counter\r\n\r\n');
  }
}

// Whoever is gone hears nothing; the end comes with `disconnect`.
const send = (message: FromProber) => process.send?.(message, undefined, undefined, () => undefined);
/** Told several at a time: on a machine with two cores each message takes something away from what is measured. */
let answers: Answer[] = [];
function tell(): void {
  if (answers.length > 0) send({ kind: 'answers', answers });
  answers = [];
}
setInterval(tell, 200);
/** By address. */
let targets = new Map<string, Target[]>();
/** On the destination, of those of which no answer is wanted. */
let others = new Set<string>();
let timer: NodeJS.Timeout | undefined;

function watch({ source, ports, reservations }: Extract<ToProber, { kind: 'watch' }>): void {
  stop();
  const addressesOn = (directory: string) => new Set(readdirSync(directory).filter((name) => /^\d+\.\d+\.\d+\.\d+$/.test(name)));
  others = addressesOn(reservations.destination);
  const add = (address: string) => {
    let heard = false;
    const answered = (answer: Answer) => {
      answers.push(answer);
      // That somebody new answers is waited for.
      if (!heard) tell();
      heard = true;
    };
    targets.set(
      address,
      ports.map((port) => new Target(address, port, answered)),
    );
  };
  if (source) add(source);
  timer = setInterval(() => {
    const present = addressesOn(reservations.destination);
    for (const address of present) if (!others.has(address) && !targets.has(address)) add(address);
    if (source && addressesOn(reservations.source).has(source)) present.add(source);
    for (const [address, own] of targets) {
      // Packets to an address that nobody has would go round between node and control plane until they die.
      if (present.has(address)) for (const target of own) target.tick();
      else remove(address);
    }
  }, interval);
  send({ kind: 'watching' });
}

function remove(address: string): void {
  for (const target of targets.get(address) ?? []) target.close();
  targets.delete(address);
}

function stop(): void {
  clearInterval(timer);
  for (const address of [...targets.keys()]) remove(address);
  targets = new Map();
}

process.on('message', (message: ToProber) => {
  switch (message.kind) {
    case 'watch':
      return watch(message);
    case 'leave':
      others.add(message.address);
      return remove(message.address);
    case 'stop':
      return stop();
  }
});
// Its parent is gone, however it ended.
process.on('disconnect', () => process.exit());
