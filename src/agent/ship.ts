import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import type { SourceRequest, TargetRequest } from '../api/agent.ts';
import { type Pages, packCheckpoint, pagesSize } from '../archive/directory.ts';
import { ArchiveError } from '../archive/errors.ts';
import { PageComparer } from '../archive/page-comparer.ts';
import { type RewriteOptions, rewriteArchive } from '../archive/rewrite.ts';
import { unpackVolume } from '../archive/volume-unpack.ts';
import type { BlobInfo } from '../image/blob.ts';
import type { BlobStore } from '../image/blob-store.ts';
import { checkpointConfig, pushCheckpointImage } from '../image/checkpoint-image.ts';
import { fetchChunked, removeAll } from '../image/chunked-fetch.ts';
import { ChunkedTransfers, ChunkedUploader, type ImageSender } from '../image/chunked-upload.ts';
import { digestOf } from '../image/digest.ts';
import { credentialsFor } from '../image/docker-config.ts';
import { ImageError } from '../image/errors.ts';
import { mediaTypes } from '../image/media-types.ts';
import { RegistryClient } from '../image/registry-client.ts';
import { bulkHighWaterMark } from '../util/hashing.ts';
import { paced } from '../util/pace.ts';
import { together } from '../util/together.ts';
import { AgentConnections } from './agent-connections.ts';
import type { PackedVolume } from './kept-volumes.ts';
import type { AgentTls } from './mutual-tls.ts';
import { type Ahead, aheadOf, type Beside, type ChangesRoute, keepMaps, memoryOf, packWithoutPages, shipChanges } from './ship-changes.ts';
import { type PagesRoute, progressByPart, shipPages } from './ship-directory.ts';
import type { ArchiveToShip, Flow, MemoryToShip, Shipped, WarmLayer } from './source-record.ts';
import { restoreTag, volumesRepository } from './target.ts';
import { emptyDirPath } from './volumes.ts';

/** Connections that shipping a container's archive uses at a time: for what it sends, and for what it asks meanwhile. */
const connectionsEach = 2;

/** Opened ahead at most: those of the first containers will do for the next. */
const mostConnections = 8;

/** Names a layer's volume, in the image that carries the volumes. */
const volumeAnnotation = 'podferry.io/volume';

/** The registry of the transfer `Registry`, as the agent was configured. */
export interface TransferRegistry {
  /** `HOST[:PORT]/PREFIX` */
  reference: string;
  /** Path of a `.dockerconfigjson`; it need not exist. */
  credentialsFile: string;
  /** Path of a CA bundle; it need not exist. */
  caFile: string;
}

export interface ShipperOptions {
  /** The certificate to show to other agents, as it is now. */
  tls(): AgentTls;
  registry: TransferRegistry | undefined;
  /** The kubelet's root directory. */
  kubeletDirectory: string;
}

/** Where one migration's images go or come from. */
interface Route {
  client: ImageSender;
  /** Straight to the destination's agent, which takes memory beside the archive; on another port, where it has one for that. */
  direct?: { agent: RegistryClient; memory: RegistryClient };
  repository(part: string): string;
}

/**
 * Moves archives and volumes between nodes as OCI images: straight to the destination's agent, or by way of a registry.
 * One pass over the bytes each time, nothing is kept in memory.
 */
export class Shipper {
  readonly #options: ShipperOptions;
  readonly #chunked = new ChunkedTransfers();
  readonly #agents: AgentConnections;
  #pages: PageComparer | undefined;

  constructor(options: ShipperOptions) {
    this.#options = options;
    this.#agents = new AgentConnections(options.tls);
  }

  /**
   * A container's archive, with the base image's name rewritten to what the destination serves on its loopback. Where the
   * destination has lost what was sent ahead (its agent ended in between, or this one did), or the comparison with that was begun too soon,
   * all of it is sent.
   *
   * @throws ArchiveError when it is damaged or lacks what a restore needs, ImageError when it does not get through
   */
  async archive(request: SourceRequest, container: string, archive: ArchiveToShip, flow: Flow, signal: AbortSignal): Promise<Shipped> {
    try {
      return await this.#archive(request, container, archive, flow, signal);
    } catch (error) {
      const inVain =
        (error instanceof ImageError && error.code === 'not-found') || (error instanceof ArchiveError && error.code === 'changed');
      if (!archive.layers?.length || !inVain) throw error;
      signal.throwIfAborted();
      return this.#archive(request, container, { ...archive, layers: [] }, flow, signal);
    }
  }

  async #archive(
    request: SourceRequest,
    container: string,
    { path, whole, before, layers = [] }: ArchiveToShip,
    flow: Flow,
    signal: AbortSignal,
  ): Promise<Shipped> {
    const { contentDirectory } = request.destination;
    return this.#along(request, signal, async ({ client, direct, repository }) => {
      const isDirectory = (await stat(path)).isDirectory();
      const beside = isDirectory && contentDirectory !== undefined && direct !== undefined && (before?.beside ?? true);
      const ahead = aheadOf(beside ? layers : []);
      const open = async (pages: Promise<Beside>) => {
        await whole;
        if (beside) return packWithoutPages(path, pages, contentDirectory, ahead);
        return isDirectory ? packCheckpoint(path) : createReadStream(path, { highWaterMark: bulkHighWaterMark });
      };
      // What was shipped in another way cannot be compared.
      const same = before && (before.beside ?? false) === beside && !before.incremental ? before : undefined;
      const progress = progressByPart(flow);
      const { promise: pages, ...known } = Promise.withResolvers<Beside>();
      const pagesBeside = pages.then(allOf);
      // Who waits for it may not have begun to when it fails.
      pagesBeside.catch(() => undefined);
      // The archive, which ends with the digests of the memory, is on its way while the last of that still is.
      const [bytes, archive] = await together(signal, (stop) => {
        const route = { repository: repository(container), signal: stop };
        const sending = beside
          ? shipNew(path, whole, ahead, () => this.#comparer(), {
              ...changesRoute(direct, route),
              flow: { ...flow, progress: progress('memory') },
              readAgain: false,
            })
          : Promise.resolve(nothingBeside);
        sending.then(known.resolve, known.reject);
        const pushing = pushArchive(client, {
          ...route,
          flow: { ...flow, progress: progress('archive') },
          open: () => open(pages),
          rewrite: {
            ...rewritten(request, container),
            ...(beside ? { pagesBeside } : {}),
            ...(same?.checksum === undefined ? {} : { checksum: same.checksum }),
          },
          container,
        }).catch(async (error: unknown) => {
          // What the dump failed with is more to the point.
          await whole;
          throw error;
        });
        return [sending.then((sent) => sent.bytes), pushing];
      });
      return {
        ...archive,
        bytes: bytes + archive.bytes,
        ...(beside ? { beside } : {}),
        ...(ahead.layers.length > 0 ? { incremental: true } : {}),
      };
    });
  }

  /** Sends the memory of a dump of a container that runs on, or what of it is new since the last one. */
  async memory(
    request: SourceRequest,
    container: string,
    { path, whole, layers }: MemoryToShip,
    flow: Flow,
    signal: AbortSignal,
  ): Promise<WarmLayer> {
    return this.#along(request, signal, async ({ direct, repository }) => {
      if (!direct) throw new Error('memory is sent ahead to the destination itself only');
      // It is there, then, when the pod stands still and waits for it.
      this.#comparer();
      const { own, parent, bytes } = await shipNew(path, whole, aheadOf(layers), () => this.#comparer(), {
        ...changesRoute(direct, { repository: repository(container), signal }),
        flow,
        readAgain: true,
      });
      if (layers.length === 0) await keepMaps(path);
      return { path, pages: Object.fromEntries(layers.length === 0 ? own : parent), bytes, memory: await memoryOf(path) };
    });
  }

  /**
   * The emptyDir volumes, a layer each, as one image.
   *
   * @throws Error when they are not those of the `before`, if that is given
   */
  async volumes(
    request: SourceRequest,
    before: Shipped | undefined,
    pack: (volume: string) => PackedVolume,
    { progress, pace }: Flow,
    signal: AbortSignal,
  ): Promise<Shipped> {
    return this.#along(request, signal, async ({ client, repository }) => {
      const name = repository(volumesRepository);
      const layers: (BlobInfo & { volume: string })[] = [];
      for (const volume of request.volumes) {
        const before = layers.reduce((sum, layer) => sum + layer.size, 0);
        const { output, done } = pack(volume);
        const layer = await client.uploadBlob(name, paced(output, pace, signal), {
          signal,
          onProgress: (bytes) => progress(before + bytes),
        });
        await done;
        layers.push({ ...layer, volume });
      }
      const config = await client.putBlob(name, checkpointConfig(layers[0]?.digest ?? ''), { signal });
      const manifest = {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config: { mediaType: mediaTypes.config, digest: config.digest, size: config.size },
        layers: layers.map(({ digest, size, volume }) => ({
          mediaType: mediaTypes.layer,
          digest,
          size,
          annotations: { [volumeAnnotation]: volume },
        })),
      };
      const document = Buffer.from(JSON.stringify(manifest));
      if (before && digestOf(document) !== before.digest)
        throw new Error('the copy that was kept of the volumes is not what was shipped first: its disk is to be mistrusted');
      const digest = await client.putManifest(name, restoreTag, document, mediaTypes.manifest, { signal });
      return { digest, bytes: layers.reduce((sum, layer) => sum + layer.size, 0) };
    });
  }

  /** What the source pushed to the registry, into the store; removed from the registry then (it is memory, and holds secrets). */
  async fetch(
    request: TargetRequest,
    token: string,
    store: BlobStore,
    received: (part: string, digest: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#throughRegistry(token, signal, async ({ client, repository }) => {
      const copied = await Promise.all(
        partsOf(request).map(async (part) => {
          const from = { client, repository: repository(part), reference: restoreTag };
          return { part, digest: await fetchChunked(from, store, { signal, slots: this.#chunked.slots }) };
        }),
      );
      for (const { part, digest } of copied) await received(part, digest);
    });
    await this.retract(request, token, signal);
  }

  /** Removes from the registry what the source pushed there. Best effort: where a registry forbids it, its own retention has to do. */
  async retract(request: SourceRequest | TargetRequest, token: string, signal: AbortSignal): Promise<void> {
    await this.#throughRegistry(token, signal, async ({ client, repository }) => {
      await Promise.allSettled(partsOf(request).map((part) => removeAll(client, repository(part), signal)));
    });
  }

  /** Puts received volumes into the directories that the kubelet made for the target pod. */
  async unpackVolumes(store: BlobStore, digest: string, podUid: string, signal: AbortSignal): Promise<void> {
    const manifest = (await json(store.read(digest))) as {
      layers: { digest: string; annotations: Record<string, string> }[];
    };
    for (const layer of manifest.layers) {
      const directory = emptyDirPath(this.#options.kubeletDirectory, podUid, layer.annotations[volumeAnnotation] ?? '');
      await unpackVolume(store.read(layer.digest), directory, { replace: true, signal });
    }
  }

  #comparer(): PageComparer {
    if (!this.#pages || this.#pages.failed) this.#pages = new PageComparer();
    return this.#pages;
  }

  /** Ends its thread, and closes its connections. */
  async close(): Promise<void> {
    await Promise.all([this.#pages?.[Symbol.asyncDispose](), this.#agents.close()]);
  }

  /** Opens what shipping a migration's parts will use, ahead of it. Never fails. */
  async connect({ transfer, destination, containers }: SourceRequest, signal: AbortSignal): Promise<void> {
    if (transfer === 'Registry') return;
    const open = (address: string, count: number) => this.#agents.ready(address, Math.min(count, mostConnections), signal);
    const memory = memoryAddress(destination);
    await Promise.all([
      open(destination.address, containers.length * connectionsEach),
      ...(memory ? [open(memory, containers.length)] : []),
    ]);
  }

  #along<Value>(request: SourceRequest, signal: AbortSignal, work: (route: Route) => Promise<Value>): Promise<Value> {
    const { address, repository: token } = request.destination;
    if (request.transfer === 'Registry')
      return this.#throughRegistry(token, signal, ({ client, repository }) =>
        work({ client: new ChunkedUploader(client, this.#chunked), repository }),
      );
    const route = { repository: (part: string) => `${token}/${part}` };
    const other = memoryAddress(request.destination);
    return this.#agents.use(address, signal, (client) => {
      if (other === undefined) return work({ ...route, client, direct: { agent: client, memory: client } });
      return this.#agents.use(other, signal, (memory) => work({ ...route, client, direct: { agent: client, memory } }));
    });
  }

  async #throughRegistry<Value>(
    token: string,
    signal: AbortSignal,
    work: (route: { client: RegistryClient; repository: Route['repository'] }) => Promise<Value>,
  ): Promise<Value> {
    const { registry } = this.#options;
    if (!registry) throw new Error('the transfer Registry needs a registry, and the agents have none (option --registry)');
    const slash = registry.reference.indexOf('/');
    const [host, prefix] =
      slash < 0 ? [registry.reference, ''] : [registry.reference.slice(0, slash), `${registry.reference.slice(slash + 1)}/`];
    const [document, ca] = await Promise.all([optional(registry.credentialsFile), optional(registry.caFile)]);
    const credentials = document === undefined ? undefined : credentialsFor(document, host, `${prefix}${token}`);
    const client = new RegistryClient({
      registry: host,
      scheme: 'https',
      ...(ca === undefined ? {} : { ca }),
      ...(credentials ? { credentials } : {}),
      signal,
    });
    try {
      return await work({ client, repository: (part) => `${prefix}${token}/${part}` });
    } finally {
      await client.close();
    }
  }
}

/** Where the destination takes in memory, if that is another port. */
function memoryAddress({ address, memoryPort }: SourceRequest['destination']): string | undefined {
  return memoryPort === undefined ? undefined : address.replace(/:\d+$/, `:${memoryPort}`);
}

/** The thread that takes memory in does not say what there is, the agent itself does. */
function changesRoute(
  { agent, memory }: NonNullable<Route['direct']>,
  { repository, signal }: Pick<ChangesRoute, 'repository' | 'signal'>,
): Pick<ChangesRoute, 'client' | 'repository' | 'signal' | 'has'> {
  const has = async (digest: string, stop: AbortSignal) => (await agent.headBlob(repository, digest, { signal: stop })) !== undefined;
  return { client: memory, repository, signal, has };
}

/** All of a dump's memory while CRIU writes it, or, where some was sent ahead, what changed since. */
async function shipNew(
  path: string,
  whole: Promise<void>,
  ahead: Ahead,
  comparer: () => PageComparer,
  route: ChangesRoute,
): Promise<Beside & { bytes: number }> {
  if (ahead.layers.length > 0) return shipChanges(path, ahead, whole, comparer(), route);
  const own = await shipPages(path, whole, route);
  return { own, parent: new Map(), inArchive: [], bytes: pagesSize(own) };
}

const nothingBeside = { own: new Map(), parent: new Map(), inArchive: [], bytes: 0 } satisfies Beside & { bytes: number };

/** For the checksum of an archive. */
function allOf({ own, parent }: Beside): Pages {
  return new Map([...own, ...[...parent].map(([name, blob]) => [`parent/${name}`, blob] as const)]);
}

/** What changes in an archive on its way. */
function rewritten({ containers }: SourceRequest, container: string): RewriteOptions {
  const { rootfsImageRef } = containers.find(({ name }) => name === container) ?? {};
  return { ...(rootfsImageRef ? { rootfsImageRef } : {}), containerName: container };
}

/** Sends an archive as an image. */
async function pushArchive(
  client: ImageSender,
  {
    open,
    rewrite,
    container,
    repository,
    flow,
    signal,
  }: Omit<PagesRoute, 'client' | 'readAgain'> & { open: () => Promise<Readable>; rewrite: RewriteOptions; container: string },
): Promise<Shipped> {
  // The upload is begun, then, when there is something to be sent.
  const archive = Readable.from(opened(open), { objectMode: false, highWaterMark: bulkHighWaterMark });
  const { output, summary } = rewriteArchive(archive, { ...rewrite, signal });
  const pushed = await pushCheckpointImage(client, {
    repository,
    tag: restoreTag,
    containerName: container,
    archive: paced(output, flow.pace, signal),
    onProgress: flow.progress,
    signal,
  });
  return { digest: pushed.manifestDigest, bytes: pushed.layerBytes, checksum: (await summary).checksum };
}

async function* opened(open: () => Promise<Readable>): AsyncGenerator<Buffer> {
  yield* await open();
}

/** The images of a migration: one a container, and one for the volumes. */
function partsOf({ containers, volumes }: SourceRequest | TargetRequest): string[] {
  return [...containers.map(({ name }: { name: string }) => name), ...(volumes.length ? [volumesRepository] : [])];
}

async function optional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
