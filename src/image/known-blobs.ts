/** Some 2 MB of memory. */
const most = 8192;

/** In which repository of a registry this process has seen a blob last, so that it can be mounted in another; the oldest are forgotten. */
export class KnownBlobs {
  readonly #repositories = new Map<string, string>();

  /** @param origin of the registry */
  repositoryOf(origin: string, digest: string): string | undefined {
    return this.#repositories.get(`${origin} ${digest}`);
  }

  remember(origin: string, digest: string, repository: string): void {
    const key = `${origin} ${digest}`;
    this.#repositories.delete(key);
    this.#repositories.set(key, repository);
    if (this.#repositories.size <= most) return;
    const [oldest] = this.#repositories.keys();
    if (oldest !== undefined) this.#repositories.delete(oldest);
  }
}
