import { setTimeout as sleepFor } from 'node:timers/promises';

/** A call did not end within the time it was given. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/**
 * Runs `work` with a signal that aborts when the caller's does or after `milliseconds`. The listener and the timer are
 * gone when the work is done: `AbortSignal.any` on a signal that lives as long as the process collects them.
 *
 * @throws whatever the work throws; it is `work` that has to turn an aborted signal into an error
 */
export async function withDeadline<T>(
  milliseconds: number,
  caller: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  caller?.throwIfAborted();
  const controller = new AbortController();
  const abort = () => controller.abort(caller?.reason);
  const timer = setTimeout(() => controller.abort(new DeadlineError(`no answer within ${milliseconds / 1000} s`)), milliseconds);
  caller?.addEventListener('abort', abort, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    caller?.removeEventListener('abort', abort);
  }
}

/** Waits; throws the signal's reason when it aborts first. Milliseconds. */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleepFor(milliseconds, undefined, signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/**
 * Exponential backoff with jitter: `base · 2ⁿ` up to `maximum`, of which a random half is kept off, so that many clients
 * that failed together do not come back together.
 *
 * @param failures how often it failed in a row, from 1 on
 * @returns milliseconds
 */
export function backoff(failures: number, base: number, maximum: number, random: () => number = Math.random): number {
  const full = Math.min(maximum, base * 2 ** Math.min(failures - 1, 30));
  return full / 2 + (full / 2) * random();
}
