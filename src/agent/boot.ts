import { readFile } from 'node:fs/promises';

/** What the kernel calls this boot of the node: another after each (`/proc/sys/kernel/random/boot_id`, random(4)). Containers see the node's. */
export async function currentBoot(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
