import { readFile, statfs } from 'node:fs/promises';
import { lab } from '../cluster/support/lab.ts';
import { sizeName } from './cells.ts';

/** The pod on both nodes, and what everything else here needs. */
const memoryNeeded = (mebibytes: number) => 2.2 * mebibytes + 1536;

/** The documented way keeps about twelve copies at its peak: archive, the runtime's and buildah's, the registry's, the pull's. */
const diskNeeded = (mebibytes: number) => 12 * mebibytes + 2048;

/** Why pods of this size cannot be moved on this machine now; undefined when they can. */
export async function noRoomFor(mebibytes: number): Promise<string | undefined> {
  const available = Number(/^MemAvailable: +(\d+)/m.exec(await readFile('/proc/meminfo', 'utf8'))?.[1]) / 1024;
  const { bavail, bsize } = await statfs((await lab()).stateDirectory);
  const free = (bavail * bsize) / 2 ** 20;
  const lacks = (what: string, there: number, needed: number) =>
    `${sizeName(mebibytes)} needs ${(needed / 1024).toFixed(1)} GiB of ${what}, there are ${(there / 1024).toFixed(1)}`;
  if (available < memoryNeeded(mebibytes)) return lacks('memory', available, memoryNeeded(mebibytes));
  if (free < diskNeeded(mebibytes)) return lacks('disk', free, diskNeeded(mebibytes));
  return undefined;
}
