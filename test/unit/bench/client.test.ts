import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../../bench/client.ts';

const source = '127.0.0.1';
const target = '127.0.0.2';

/** Answers as counters do; frozen: takes requests and answers nothing. */
class Counter {
  frozen = false;
  readonly #server: Server;
  lastAnswered = 0;
  firstAnswered = 0;
  #count: number;

  constructor(count: number) {
    this.#count = count;
    this.#server = createServer((_, response) => {
      if (this.frozen) return;
      this.lastAnswered = Date.now();
      this.firstAnswered ||= this.lastAnswered;
      response.end(`{"birth":"ab","count":${this.#count++}}`);
    });
  }

  async listen(address: string, port: number): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(port, address, resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

let directory: string;
let client: Client;
let counters: Counter[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bench-'));
  const reservations = { source: join(directory, 'source'), destination: join(directory, 'destination') };
  for (const path of Object.values(reservations)) await mkdir(path);
  await writeFile(join(reservations.source, source), '');
  client = new Client(async () => reservations);
  counters = [];
});

afterEach(async () => {
  await client.close();
  for (const counter of counters) counter.close();
  await rm(directory, { recursive: true });
});

async function counter(address: string, port: number, count: number): Promise<{ counter: Counter; port: number }> {
  const made = new Counter(count);
  counters.push(made);
  return { counter: made, port: await made.listen(address, port) };
}

it('sees the last answer of the source and the first of the pod that appears on the destination', async () => {
  const { counter: old, port } = await counter(source, 0, 1);
  await client.watch([port], source);
  await sleep(100);
  old.frozen = true;
  // The address is there before anything listens at it.
  await writeFile(join(directory, 'destination', target), '');
  await sleep(150);
  const { counter: restored } = await counter(target, port, 1000);
  const [first] = await client.firstOfTarget(5000);
  const [last] = client.lastOfSource();
  expect(first).toMatchObject({ address: target, birth: 'ab', count: 1000 });
  expect(Math.abs((last?.at ?? 0) - old.lastAnswered)).toBeLessThan(250);
  expect(Math.abs((first?.at ?? 0) - restored.firstAnswered)).toBeLessThan(250);
});

it('leaves out what the source answered after a moment', async () => {
  const { port } = await counter(source, 0, 1);
  await client.watch([port], source);
  const cutoff = Date.now();
  await sleep(400);
  expect(client.lastOfSource(cutoff)[0]?.at).toBeLessThan(cutoff);
  expect(client.lastOfSource()[0]?.at).toBeGreaterThan(cutoff);
});

it('does not ask an address that was left, and does any other', async () => {
  const { counter: silent, port } = await counter(target, 0, 1);
  const { counter: restored } = await counter('127.0.0.3', port, 1000);
  await client.watch([port]);
  client.leave(target);
  for (const address of [target, '127.0.0.3']) await writeFile(join(directory, 'destination', address), '');
  const [first] = await client.firstOfTarget(5000);
  expect(first).toMatchObject({ address: '127.0.0.3', count: 1000 });
  expect(restored.lastAnswered).toBeGreaterThan(0);
  expect(silent.lastAnswered).toBe(0);
});

it('says so when no target answers in time', async () => {
  const { port } = await counter(source, 0, 1);
  await client.watch([port], source);
  await expect(client.firstOfTarget(200)).rejects.toThrow('the target answers: not within 0.2 s');
});
