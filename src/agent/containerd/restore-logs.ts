import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A log of CRIU that was removed, and the container that it was about. */
export interface RemovedLog {
  id: string;
  log: string;
}

/** Between two looks while a restore is awaited, and while none is. Milliseconds. */
const lookInterval = 20;
const idleInterval = 200;

/** The end of a log that is kept; what failed stands there. Bytes. */
const longestTail = 256 * 1024;

/**
 * CRIU's logs of restores. The shim has CRIU write them to a directory of the container's own (`DIRECTORY/ID/restore.log`)
 * and removes it when the restore has failed, before anybody is told (containerd 2.1.9, measured: it is there for about
 * 0.1 s). So each is opened as soon as it is seen: what is open can be read when its name is gone. It is looked for, and
 * not watched: a user has few inotify instances, and on many nodes root's are used up.
 */
export class RestoreLogs {
  readonly #directory: string;
  /** Containers that have begun while it was looked; with the log once it was there. */
  readonly #held = new Map<string, FileHandle | undefined>();

  /** @param directory `ROOT/io.containerd.runtime.v2.task/k8s.io`, ROOT being containerd's root directory */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * The logs that are removed from now on, until the signal aborts.
   *
   * @param wanted whether a restore is awaited; else nothing is looked for
   * @throws Error when the directory cannot be read
   */
  async *removed(wanted: () => boolean, signal: AbortSignal): AsyncGenerator<RemovedLog> {
    /** Containers that were there when it began to be looked, or whose restore has come to its end. */
    let known: Set<string> | undefined;
    try {
      while (!signal.aborted) {
        if (!wanted()) {
          known = undefined;
          await this.#forgetAll();
        } else {
          const there = new Set(await readdir(this.#directory));
          known ??= there;
          for (const id of there) if (!known.has(id) && !this.#held.has(id)) this.#held.set(id, undefined);
          for (const id of [...this.#held.keys()]) {
            const log = await this.#look(id);
            if (log !== undefined) yield { id, log };
            else if (!there.has(id) && !this.#held.get(id)) this.#held.delete(id);
          }
        }
        await sleep(known ? lookInterval : idleInterval, undefined, { signal }).catch(() => undefined);
      }
    } finally {
      await this.#forgetAll();
    }
  }

  /** Opens the log when it is there. Its text, when its name is gone. */
  async #look(id: string): Promise<string | undefined> {
    const file = this.#held.get(id) ?? (await open(join(this.#directory, id, 'restore.log'), 'r').catch(() => undefined));
    if (!file) return undefined;
    this.#held.set(id, file);
    const { nlink, size } = await file.stat();
    if (nlink > 0) return undefined;
    this.#held.delete(id);
    const tail = Buffer.alloc(Math.min(size, longestTail));
    await file.read(tail, 0, tail.length, size - tail.length);
    await file.close();
    return tail.toString('utf8');
  }

  async #forgetAll(): Promise<void> {
    const files = [...this.#held.values()];
    this.#held.clear();
    for (const file of files) await file?.close();
  }
}
