import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../../src/util/errors.ts';

/**
 * Asks until the answer is not undefined; what it threw last is the reason when it takes too long.
 *
 * @param limit milliseconds
 */
export async function until<Value>(
  words: string,
  ask: () => Promise<Value | undefined> | Value | undefined,
  limit = 60_000,
  every = 100,
): Promise<Value> {
  const end = performance.now() + limit;
  let reason: unknown;
  for (;;) {
    try {
      const value = await ask();
      if (value !== undefined) return value;
      reason = undefined;
    } catch (error) {
      reason = error;
    }
    if (performance.now() > end) {
      const last = reason === undefined ? '' : ` (${messageOf(reason)})`;
      throw new Error(`${words}: not within ${limit / 1000} s${last}`, { cause: reason });
    }
    await sleep(every);
  }
}
