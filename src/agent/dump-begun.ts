import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** How often it is looked. Milliseconds. */
const lookInterval = 5;

/**
 * Resolves when CRIU has begun to write images into a directory, or is not going to. Until then (25 to 35 ms) a pod stands still for
 * programs that are being started, and whatever goes on beside them makes that longer.
 *
 * @param dump settles when the dump has ended
 */
export async function dumpBegun(images: string, dump: Promise<unknown>): Promise<void> {
  let ended = false;
  const end = () => {
    ended = true;
  };
  const whole = dump.then(end, end);
  while (!ended && (await readdir(images)).length === 0) await Promise.race([sleep(lookInterval), whole]);
}
