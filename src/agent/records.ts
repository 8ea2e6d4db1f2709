import { constants } from 'node:fs';
import { access, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * JSON documents that survive a crash at any point: written to a file beside, synced, renamed over the old one, and the
 * directory synced. One file a migration, named by its uid; mode 0600.
 */
export class Records<Value> {
  readonly #directory: string;
  readonly #writing = new Map<string, Promise<void>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** All records, and the names of files that cannot be read (which are left for a person to look at). */
  async load(): Promise<{ records: Map<string, Value>; damaged: string[] }> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const records = new Map<string, Value>();
    const damaged: string[] = [];
    for (const name of await readdir(this.#directory)) {
      const path = join(this.#directory, name);
      if (name.endsWith('.tmp')) await rm(path);
      if (!name.endsWith('.json')) continue;
      try {
        records.set(name.slice(0, -'.json'.length), JSON.parse(await readFile(path, 'utf8')) as Value);
      } catch {
        damaged.push(path);
      }
    }
    return { records, damaged };
  }

  /** Resolves when the value would survive a power cut. Writes of one key keep their order. */
  write(key: string, value: Value): Promise<void> {
    const text = `${JSON.stringify(value)}\n`;
    return this.#queue(key, async () => {
      const path = this.#path(key);
      const file = await open(`${path}.tmp`, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.tmp`, path);
      await this.#syncDirectory();
    });
  }

  /** Whether there is one, on the disk. */
  async has(key: string): Promise<boolean> {
    try {
      await access(this.#path(key));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
  }

  remove(key: string): Promise<void> {
    return this.#queue(key, async () => {
      await rm(this.#path(key), { force: true });
      await this.#syncDirectory();
    });
  }

  #queue(key: string, task: () => Promise<void>): Promise<void> {
    const before = this.#writing.get(key) ?? Promise.resolve();
    const next = before.catch(() => undefined).then(task);
    this.#writing.set(key, next);
    const forget = () => {
      if (this.#writing.get(key) === next) this.#writing.delete(key);
    };
    next.then(forget, forget);
    return next;
  }

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.#directory, constants.O_RDONLY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  /** Uids come over the network; nothing but a uid may become part of a path. */
  #path(key: string): string {
    if (!/^[0-9a-f-]{36}$/.test(key)) throw new Error(`not the uid of a Migration: ${JSON.stringify(key)}`);
    return join(this.#directory, `${key}.json`);
  }
}
