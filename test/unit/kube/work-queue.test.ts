import { expect, test } from '@jest/globals';
import { type Timers, WorkQueue } from '../../../src/kube/work-queue.ts';

/** Time that passes only when told to. */
class FakeTimers implements Timers {
  #now = 0;
  #id = 0;
  readonly #timers = new Map<number, { at: number; callback: () => void }>();

  now = () => this.#now;
  set = (callback: () => void, milliseconds: number) => {
    this.#timers.set(++this.#id, { at: this.#now + milliseconds, callback });
    return this.#id;
  };
  clear = (timer: unknown) => this.#timers.delete(timer as number);

  async pass(milliseconds: number): Promise<void> {
    const until = this.#now + milliseconds;
    for (;;) {
      await settle();
      const next = [...this.#timers].sort(([, left], [, right]) => left.at - right.at)[0];
      if (!next || next[1].at > until) break;
      this.#now = next[1].at;
      this.#timers.delete(next[0]);
      next[1].callback();
    }
    this.#now = until;
    await settle();
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Work that ends when told to. */
function manual() {
  const running: { key: string; signal: AbortSignal; end: () => void; fail: (error: Error) => void }[] = [];
  const seen: string[] = [];
  const work = (key: string, signal: AbortSignal) => {
    seen.push(key);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const entry = { key, signal, end: resolve, fail: reject };
    running.push(entry);
    return promise.finally(() => running.splice(running.indexOf(entry), 1));
  };
  return { running, seen, work };
}

test('a key that waits is there once; one added while worked on comes again once', async () => {
  const { running, seen, work } = manual();
  const queue = new WorkQueue(work).start();
  queue.add('a');
  for (const key of ['a', 'a', 'b', 'b', 'a']) queue.add(key);
  expect(seen).toEqual(['a']);
  running[0]?.end();
  await settle();
  expect(seen).toEqual(['a', 'b']);
  running[0]?.end();
  await settle();
  expect(seen).toEqual(['a', 'b', 'a']);
  running[0]?.end();
  await settle();
  expect(queue.depth).toBe(0);
});

test('as many keys at once as allowed, never the same one twice', async () => {
  const { running, work } = manual();
  const queue = new WorkQueue(work, { concurrency: 2 });
  for (const key of ['a', 'b', 'c']) queue.add(key);
  expect(running).toHaveLength(0);
  queue.start();
  queue.add('a');
  expect(running.map(({ key }) => key)).toEqual(['a', 'b']);
  running[1]?.end();
  await settle();
  expect(running.map(({ key }) => key)).toEqual(['a', 'c']);
});

test('failures of a key come back after a wait that doubles up to the maximum, and a success forgets them', async () => {
  const timers = new FakeTimers();
  const waits: number[] = [];
  let healthy = false;
  let runs = 0;
  const work = async () => {
    runs++;
    if (!healthy) throw new Error('no');
  };
  const queue = new WorkQueue(work, {
    timers,
    random: () => 0.999999,
    maximumDelay: 1000,
    onError: (_key, _error, wait) => waits.push(Math.round(wait)),
  }).start();
  queue.add('a');
  await timers.pass(10_000);
  expect(waits.slice(0, 7)).toEqual([50, 100, 200, 400, 800, 1000, 1000]);
  healthy = true;
  await timers.pass(1000);
  expect(queue.failuresOf('a')).toBe(0);
  const before = runs;
  await timers.pass(60_000);
  expect(runs).toBe(before);
});

test('jitter keeps off up to half of a wait', async () => {
  const timers = new FakeTimers();
  const waits: number[] = [];
  const queue = new WorkQueue(() => Promise.reject(new Error('no')), {
    timers,
    random: () => 0,
    onError: (_key, _error, wait) => waits.push(wait),
  }).start();
  queue.add('a');
  await timers.pass(100);
  expect(waits.slice(0, 2)).toEqual([25, 50]);
});

test('of several times asked for the soonest counts', async () => {
  const timers = new FakeTimers();
  const seen: number[] = [];
  const queue = new WorkQueue(async () => void seen.push(timers.now()), { timers }).start();
  queue.addAfter('a', 500);
  queue.addAfter('a', 100);
  queue.addAfter('a', 300);
  expect(queue.delayed).toBe(1);
  await timers.pass(1000);
  expect(seen).toEqual([100]);
  queue.addAfter('a', 0);
  await settle();
  expect(seen).toHaveLength(2);
});

test('work that throws before its first await, and a broken error listener, lose no key', async () => {
  const timers = new FakeTimers();
  let runs = 0;
  const work = () => {
    if (runs++ < 2) throw new Error('at once');
    return Promise.resolve();
  };
  const onError = () => {
    throw new Error('broken logger');
  };
  const queue = new WorkQueue(work, { timers, onError }).start();
  queue.add('a');
  await timers.pass(1000);
  expect(runs).toBe(3);
});

test('a drain waits for what is under way, drops the rest and aborts after its grace', async () => {
  const timers = new FakeTimers();
  const { running, seen, work } = manual();
  const queue = new WorkQueue(work, { timers }).start();
  queue.add('a');
  queue.add('b');
  queue.addAfter('c', 10);
  let drained = false;
  const draining = queue.drain(1000).then(() => {
    drained = true;
  });
  queue.add('d');
  await timers.pass(999);
  expect([drained, running[0]?.signal.aborted]).toEqual([false, false]);
  await timers.pass(1);
  expect([drained, running[0]?.signal.aborted]).toEqual([false, true]);
  running[0]?.fail(new Error('aborted'));
  await draining;
  await timers.pass(100_000);
  expect(seen).toEqual(['a']);
  await queue.drain(0);
});

test('some keys are worked on before others, also those that became so while they waited', async () => {
  const { running, seen, work } = manual();
  const urgent = new Set(['u']);
  const queue = new WorkQueue(work, { first: (key) => urgent.has(key) }).start();
  for (const key of ['a', 'b', 'c', 'u']) queue.add(key);
  urgent.add('c');
  queue.add('c');
  // What was first stays so until it is worked on.
  urgent.delete('u');
  queue.add('u');
  expect(queue.depth).toBe(4);
  for (let round = 0; round < 4; round++) {
    running[0]?.end();
    await settle();
  }
  expect(seen).toEqual(['a', 'u', 'c', 'b']);
});

test('the others get every eighth turn, however many go first', async () => {
  const { running, seen, work } = manual();
  const queue = new WorkQueue(work, { first: (key) => key.startsWith('u') });
  for (let index = 0; index < 20; index++) queue.add(`u${index}`);
  for (const key of ['a', 'b', 'c']) queue.add(key);
  queue.start();
  while (running.length > 0) {
    running[0]?.end();
    await settle();
  }
  expect(seen).toHaveLength(23);
  expect(['a', 'b', 'c'].map((key) => seen.indexOf(key))).toEqual([7, 15, 22]);
});

test('a drain drops those too', async () => {
  const { running, seen, work } = manual();
  const queue = new WorkQueue(work, { first: () => true }).start();
  for (const key of ['a', 'b']) queue.add(key);
  const drained = queue.drain(1000);
  running[0]?.end();
  await drained;
  expect(seen).toEqual(['a']);
  expect(queue.depth).toBe(0);
});
