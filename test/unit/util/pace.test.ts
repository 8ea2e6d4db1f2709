import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type PaceClock, paced, TokenBucket } from '../../../src/util/pace.ts';

/** Time that passes only when somebody sleeps; sleepers wake in the order of their times. */
class FakeClock implements PaceClock {
  time = 0;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();

  now(): number {
    return this.time;
  }

  sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { at: this.time + milliseconds, wake: resolve };
      this.#sleepers.add(sleeper);
      signal.addEventListener('abort', () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      });
    });
  }

  get sleeping(): number {
    return this.#sleepers.size;
  }

  /** Runs until nobody sleeps any more, or the time has come. */
  async run(until = Number.POSITIVE_INFINITY): Promise<void> {
    for (;;) {
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      const next = [...this.#sleepers].sort((left, right) => left.at - right.at)[0];
      if (!next || next.at > until) break;
      this.#sleepers.delete(next);
      this.time = next.at;
      next.wake();
    }
    if (Number.isFinite(until)) this.time = until;
  }
}

const patient = new AbortController().signal;
const mebibyte = 2 ** 20;

/** A stream of so many bytes, in pieces as a disk gives them. */
const input = (bytes: number) => Readable.from(Array.from({ length: bytes / (mebibyte / 2) }, () => Buffer.alloc(mebibyte / 2, 7)));

test('a stream takes as long as its rate has it, beside the burst, and nothing of it is lost', async () => {
  const clock = new FakeClock();
  const done = buffer(paced(input(16 * mebibyte), new TokenBucket(4 * mebibyte, clock), patient));
  await clock.run();
  expect((await done).equals(Buffer.alloc(16 * mebibyte, 7))).toBe(true);
  expect(clock.time).toBeGreaterThan(3700);
  expect(clock.time).toBeLessThan(4100);
});

test('streams that share a bucket are together no faster, and each gets its part', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(4 * mebibyte, clock);
  const ends: number[] = [];
  const all = [input(8 * mebibyte), input(8 * mebibyte)].map(async (stream) => {
    await buffer(paced(stream, bucket, patient));
    ends.push(clock.time);
  });
  await clock.run();
  await Promise.all(all);
  expect(Math.max(...ends)).toBeGreaterThan(3700);
  expect(Math.max(...ends)).toBeLessThan(4100);
  expect(Math.min(...ends)).toBeGreaterThan(3300);
});

test('a pause saves up a quarter of a second and no more', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(mebibyte, clock);
  clock.time = 3_600_000;
  let passed = 0;
  const taking = (async () => {
    for (let index = 0; index < 32; index++) {
      await bucket.take(mebibyte / 16, patient);
      passed += mebibyte / 16;
    }
  })();
  await clock.run(clock.time);
  expect(passed).toBe(mebibyte / 4);
  await clock.run();
  await taking;
  expect(clock.time - 3_600_000).toBeGreaterThan(1600);
});

test('another rate holds at once, also for those who wait', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(1000, clock);
  await bucket.take(100_000, patient);
  let passed = false;
  const taking = bucket.take(1, patient).then(() => {
    passed = true;
  });
  await clock.run(1000);
  expect([passed, clock.sleeping]).toEqual([false, 1]);
  bucket.setRate(1_000_000);
  await clock.run(1150);
  expect(passed).toBe(true);
  await taking;
  bucket.setRate(undefined);
  await bucket.take(mebibyte, patient);
  expect([clock.time, clock.sleeping]).toEqual([1150, 0]);
  // Without a limit nothing was saved up, and nothing is owed.
  bucket.setRate(1000);
  const next = bucket.take(1, patient);
  await clock.run(1200);
  await next;
});

test('without a limit nothing waits, and pieces stay whole', async () => {
  const clock = new FakeClock();
  const stream = paced(input(2 * mebibyte), new TokenBucket(undefined, clock), patient);
  const sizes: number[] = [];
  stream.on('data', (piece: Buffer) => sizes.push(piece.length));
  await once(stream, 'end');
  expect(sizes).toEqual([mebibyte / 2, mebibyte / 2, mebibyte / 2, mebibyte / 2]);
  expect(clock.time).toBe(0);
});

test('who waits stops when told to', async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(1000, clock);
  await bucket.take(1_000_000, patient);
  const stop = new AbortController();
  const taking = bucket.take(1, stop.signal);
  const stream = buffer(paced(input(mebibyte), bucket, stop.signal));
  const failures = Promise.allSettled([taking, stream]);
  await clock.run(100);
  stop.abort(new Error('given up'));
  expect((await failures).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await expect(taking).rejects.toThrow('given up');
  expect(clock.sleeping).toBe(0);
});

test('failures go both ways', async () => {
  const clock = new FakeClock();
  const broken = new PassThrough();
  const output = buffer(paced(broken, new TokenBucket(undefined, clock), patient));
  broken.destroy(new Error('the disk is broken'));
  await expect(output).rejects.toThrow('the disk is broken');

  const source = input(4 * mebibyte);
  const bucket = new TokenBucket(1000, clock);
  await bucket.take(1_000_000, patient);
  const stuck = paced(source, bucket, patient).on('error', () => undefined);
  stuck.resume();
  await clock.run(100);
  expect(clock.sleeping).toBe(1);
  stuck.destroy(new Error('the connection broke'));
  await clock.run(200);
  expect([clock.sleeping, source.destroyed]).toEqual([0, true]);
});
