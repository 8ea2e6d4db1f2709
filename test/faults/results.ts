import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Fault, Kind } from './fault.ts';
import type { Outcome } from './trial.ts';

/** What podferry is, for the trials. */
const sources = ['src', 'manifests'];

/** An outcome, and the hash of the sources it is of. */
export type Kept = Outcome & { source: string };

/**
 * The outcomes of the trials, kept outside of the work tree: a run that was cut off goes on where it was, and a second lab
 * (PODFERRY_LAB_NUMBER) takes its share. A trial is claimed by a file that names the process.
 */
export class Results {
  /** Hash of the sources as they are now. */
  readonly source: string;
  readonly #directory: string;
  readonly #stale: boolean;

  constructor(directory: string, source: string, stale: boolean) {
    this.#directory = directory;
    this.source = source;
    this.#stale = stale;
  }

  /** @param stale whether outcomes of other sources count */
  static async open(project: string, stale: boolean): Promise<Results> {
    const directory = join(process.env.PODFERRY_CACHE || '/var/cache/podferry', 'faults');
    await mkdir(directory, { recursive: true });
    return new Results(directory, (await hashOf(project, sources)).slice(0, 12), stale);
  }

  async clear(): Promise<void> {
    await rm(this.#directory, { recursive: true });
    await mkdir(this.#directory);
  }

  async find(fault: Fault, kind: Kind): Promise<Kept | undefined> {
    const text = await readFile(this.#path(fault, kind), 'utf8').catch(() => undefined);
    const kept = text === undefined ? undefined : (JSON.parse(text) as Kept);
    return kept && (this.#stale || kept.source === this.source) ? kept : undefined;
  }

  async save(fault: Fault, kind: Kind, outcome: Outcome): Promise<void> {
    const path = this.#path(fault, kind);
    await writeFile(`${path}.tmp`, JSON.stringify({ ...outcome, source: this.source } satisfies Kept));
    await rename(`${path}.tmp`, path);
  }

  async forget(fault: Fault, kind: Kind): Promise<void> {
    await rm(this.#path(fault, kind), { force: true });
  }

  /** Whether the trial is now this process's to run. */
  async claim(fault: Fault, kind: Kind): Promise<boolean> {
    const path = `${this.#path(fault, kind)}.claim`;
    const holder = await readFile(path, 'utf8').catch(() => undefined);
    if (holder !== undefined && isAlive(Number(holder))) return false;
    // What a process that was cut off had begun.
    if (holder !== undefined) await rm(path, { force: true });
    try {
      await using file = await open(path, 'wx');
      await file.writeFile(String(process.pid));
      return true;
    } catch {
      return false;
    }
  }

  async release(fault: Fault, kind: Kind): Promise<void> {
    await rm(`${this.#path(fault, kind)}.claim`, { force: true });
  }

  #path({ name, at }: Fault, kind: Kind): string {
    return join(this.#directory, `${createHash('sha256').update(`${name}/${at}/${kind}`).digest('hex').slice(0, 16)}.json`);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function hashOf(project: string, directories: string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const directory of directories) {
    const files = (await readdir(join(project, directory), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    for (const path of files.map((entry) => join(entry.parentPath, entry.name)).sort())
      hash.update(relative(project, path)).update(await readFile(path));
  }
  return hash.digest('hex');
}
