import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { blobsDirectory } from '../image/blob-files.ts';
import { BlobStore } from '../image/blob-store.ts';

/**
 * What a destination has received, one blob store a migration, so that all of it goes at once when the migration is
 * over. A store is opened when it is first asked for; what an earlier process left half-written is removed then.
 */
export class ContentStores {
  readonly #directory: string;
  readonly #stores = new Map<string, Promise<BlobStore>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  of(uid: string): Promise<BlobStore> {
    let store = this.#stores.get(uid);
    if (!store) {
      store = BlobStore.open(this.#path(uid));
      this.#stores.set(uid, store);
      // A full disk today need not be full tomorrow.
      store.catch(() => this.#stores.delete(uid));
    }
    return store;
  }

  /** @throws ImageError `digest-mismatch` for the first blob that is damaged */
  async verify(uid: string): Promise<void> {
    await (await this.of(uid)).verifyAll();
  }

  /** Where the store of a migration is, opened. */
  async directoryOf(uid: string): Promise<string> {
    await this.of(uid);
    return this.#path(uid);
  }

  /** Where the blobs of a migration lie. */
  blobsOf(uid: string): string {
    return blobsDirectory(this.#path(uid));
  }

  async remove(uid: string): Promise<void> {
    this.#stores.delete(uid);
    await rm(this.#path(uid), { recursive: true, force: true });
  }

  /** Removes what belongs to no migration that is known here (a crash between record and content). */
  async sweep(known: (uid: string) => boolean): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#directory)) {
      if (!known(name)) await rm(join(this.#directory, name), { recursive: true, force: true });
    }
  }

  #path(uid: string): string {
    if (!/^[0-9a-f-]{36}$/.test(uid)) throw new Error(`not the uid of a Migration: ${JSON.stringify(uid)}`);
    return join(this.#directory, uid);
  }
}
