import { setTimeout as sleep } from 'node:timers/promises';
import { ImageError, type ImageErrorCode } from './errors.ts';

/** How often it is tried again, and how long it waits before, the longer the more often. Milliseconds. */
const retries = 5;
const retryMs = 200;

/**
 * Does again, for about three seconds, what can be done again, as long as it fails for a reason that may pass.
 *
 * @param passing codes of such reasons
 * @throws what it failed with last, or at once for any other reason; the signal's reason
 */
export async function persistently<Value>(
  passing: readonly ImageErrorCode[],
  signal: AbortSignal | undefined,
  work: () => Promise<Value>,
): Promise<Value> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ImageError) || !passing.includes(error.code) || tries > retries) throw error;
      await sleep(tries * retryMs, undefined, { ...(signal && { signal }) });
    }
  }
}
