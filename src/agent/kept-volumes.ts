import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { SourceRequest } from '../api/agent.ts';
import { packVolume } from '../archive/volume-pack.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { emptyDirPath } from './volumes.ts';

/** A volume's content on its way out; the output fails when the packing does. */
export interface PackedVolume {
  output: Readable;
  /** Resolves when all of it has passed and, if it is kept, lies on the disk. */
  done: Promise<unknown>;
}

/**
 * The emptyDir volumes of sources. They go with their pod; where the pod has to go before its target runs, a copy is
 * kept in the same pass that ships them, so that the pod can return with its files.
 */
export class KeptVolumes {
  readonly #directory: string;
  readonly #kubeletDirectory: string;

  /** @param directory of this agent's own · @param kubeletDirectory the kubelet's root directory */
  constructor(directory: string, kubeletDirectory: string) {
    this.#directory = directory;
    this.#kubeletDirectory = kubeletDirectory;
  }

  /** The volume as the frozen pod has it, or, for a return, as it was kept. */
  pack(uid: string, request: SourceRequest, volume: string, signal: AbortSignal): PackedVolume {
    if (request.goal === 'Returned') {
      const output = createReadStream(this.#path(uid, volume), { highWaterMark: bulkHighWaterMark });
      return { output, done: Promise.resolve() };
    }
    const { output, summary } = packVolume(emptyDirPath(this.#kubeletDirectory, request.podUid, volume), { signal });
    if (!request.keepVolumes) return { output, done: summary };
    const tee = this.#tee(this.#path(uid, volume));
    const done = pipeline(output, tee, { signal }).then(() => summary);
    done.catch(() => undefined);
    return { output: tee, done };
  }

  async remove(uid: string): Promise<void> {
    await rm(join(this.#directory, uid), { recursive: true, force: true });
  }

  #tee(path: string): Transform {
    const opened = mkdir(join(path, '..'), { recursive: true, mode: 0o700 }).then(() => open(`${path}.tmp`, 'w', 0o600));
    opened.catch(() => undefined);
    return new Transform({
      readableHighWaterMark: bulkHighWaterMark,
      writableHighWaterMark: bulkHighWaterMark,
      transform(chunk: Buffer, _encoding, done) {
        opened.then((file) => file.writeFile(chunk)).then(() => done(null, chunk), done);
      },
      flush(done) {
        const keep = async () => {
          const file = await opened;
          await file.sync();
          await file.close();
          await rename(`${path}.tmp`, path);
          await using directory = await open(join(path, '..'));
          await directory.sync();
        };
        keep().then(() => done(), done);
      },
      destroy(error, done) {
        opened
          .then((file) => file.close())
          .catch(() => undefined)
          .finally(() => done(error));
      },
    });
  }

  #path(uid: string, volume: string): string {
    if (!/^[0-9a-f-]{36}$/.test(uid)) throw new Error(`not the uid of a Migration: ${JSON.stringify(uid)}`);
    if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(volume)) throw new Error(`not the name of a volume: ${JSON.stringify(volume)}`);
    return join(this.#directory, uid, `${volume}.tar`);
  }
}
