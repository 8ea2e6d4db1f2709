import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { BlobStore } from '../image/blob-store.ts';
import { digestOf } from '../image/digest.ts';
import { mediaTypes } from '../image/media-types.ts';
import type { Manifest, RegistryBackend, ServedBlob } from '../image/registry-server.ts';
import type { Runtime, StoredContent } from './runtime.ts';
import { restoreTag, type TargetContainer, type TargetKeeper, type TargetRecord, volumesRepository } from './target.ts';

export interface RegistryPorts {
  targets: TargetKeeper;
  runtime: Runtime;
  /** The content received for a migration. */
  contentOf(uid: string): Promise<BlobStore>;
}

/** Makes the manifest that is pulled ahead another one. */
const aheadAnnotation = 'podferry.io/ahead';

interface Place {
  uid: string;
  record: TargetRecord;
  part: string;
}

/** `TOKEN/PART`: the token is the right to it, the part a container or the volumes. */
function locate(ports: Pick<RegistryPorts, 'targets'>, repository: string): Place | undefined {
  const [token = '', part = '', ...rest] = repository.split('/');
  const found = rest.length === 0 ? ports.targets.find(token) : undefined;
  return found && (part === volumesRepository || Object.hasOwn(found.record.containers, part)) ? { ...found, part } : undefined;
}

/**
 * What the kubelet and the runtime of this node get on the loopback: under `restore` the checkpoint until the container
 * has started from it, its base image from then on, so that a later crash begins afresh and never from old memory; the
 * base image by digest, from the runtime's own store, for the runtime's credential-less base pull.
 */
export function pullBackend(ports: RegistryPorts): RegistryBackend {
  const { runtime, targets } = ports;
  return {
    async resolveManifest(repository, reference, { signal }) {
      const place = locate(ports, repository);
      const container = place && containerOf(place);
      if (!place || !container || place.record.state === 'Revoked') return undefined;
      if (reference !== restoreTag && reference !== container.digest)
        return (await manifestAhead(ports, place, container, reference)) ?? baseManifest(runtime, container, reference, signal);
      switch (place.record.state) {
        case 'Serving':
          if (container.startedAt && reference === restoreTag) return baseManifest(runtime, container, container.base.digest, signal);
          if (!(await targets.ready(place.uid, signal))) return undefined;
          return container.digest ? storedManifest(await ports.contentOf(place.uid), container.digest) : undefined;
        case 'Committed':
          return reference === restoreTag ? baseManifest(runtime, container, container.base.digest, signal) : undefined;
        case 'Unknown':
        case 'Prepared':
        case 'Fetching':
        case 'Complete':
          return undefined;
      }
    },

    async openBlob(repository, digest, { signal }) {
      const place = locate(ports, repository);
      const container = place && containerOf(place);
      if (!place || !container || place.record.state === 'Revoked') return undefined;
      const base = container.base.content.find((content) => content.digest === digest);
      if (base) return fromRuntime(runtime, base, signal);
      return place.record.state === 'Serving' ? fromStore(await ports.contentOf(place.uid), digest) : undefined;
    },
  };
}

/** The migration that takes in what is sent to a repository, if any does. */
export function takesIn(ports: Pick<RegistryPorts, 'targets'>, repository: string): Place | undefined {
  const place = locate(ports, repository);
  return place?.record.state === 'Prepared' ? place : undefined;
}

/** What other agents push to: only repositories of migrations that are prepared and not yet complete. */
export function pushBackend(ports: RegistryPorts): RegistryBackend {
  const open = (repository: string) => takesIn(ports, repository);
  return {
    resolveManifest: async () => undefined,
    async openBlob(repository, digest) {
      const place = open(repository);
      return place && fromStore(await ports.contentOf(place.uid), digest);
    },
    uploads: {
      accept: async (repository) => open(repository) !== undefined,
      async create(repository, options) {
        const place = open(repository);
        if (!place) throw new Error(`repository ${repository} takes nothing any more`);
        return (await ports.contentOf(place.uid)).createUpload(options);
      },
      async putManifest(repository, _reference, manifest) {
        const place = open(repository);
        if (!place) throw new Error(`repository ${repository} takes nothing any more`);
        await (await ports.contentOf(place.uid)).writeExpected(Readable.from([manifest.body]), { digest: manifest.digest });
        await ports.targets.received(place.uid, place.part, manifest.digest);
      },
    },
  };
}

/**
 * What the runtime is told to pull before the target pod is there, so that it has the layer and its snapshot when the kubelet asks
 * for the real one. A manifest of its own, with a digest that nobody else can know: the real one is handed to one pod only.
 */
async function manifestAhead(
  { targets, contentOf }: RegistryPorts,
  { uid, record }: Place,
  { digest, startedAt }: TargetContainer,
  reference: string,
): Promise<Manifest | undefined> {
  const tag = targets.aheadTag(uid);
  if (tag === undefined || record.state !== 'Serving' || startedAt || digest === undefined) return undefined;
  const stored = await storedManifest(await contentOf(uid), digest);
  if (!stored) return undefined;
  const document = JSON.parse(stored.body.toString('utf8')) as { annotations?: Record<string, string> };
  const body = Buffer.from(JSON.stringify({ ...document, annotations: { ...document.annotations, [aheadAnnotation]: tag } }));
  const ahead = { ...stored, body, digest: digestOf(body) };
  return reference === tag || reference === ahead.digest ? ahead : undefined;
}

function containerOf({ record, part }: Place): TargetContainer | undefined {
  return record.containers[part];
}

/** A manifest or index of the base image, straight from the runtime's store; undefined when that has lost it. */
async function baseManifest(
  runtime: Runtime,
  container: TargetContainer,
  digest: string,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  const known = container.base.content.find((content) => content.digest === digest);
  if (!known) return undefined;
  return toManifest(await buffer(runtime.readContent(digest, 0, known.size, signal)), digest);
}

async function storedManifest(store: BlobStore, digest: string): Promise<Manifest | undefined> {
  return (await store.stat(digest)) && toManifest(await buffer(store.read(digest)), digest);
}

/** `mediaType` may be left out of OCI documents (image-spec, manifest.md); what it is shows all the same. */
function toManifest(body: Buffer, digest: string): Manifest {
  const document = JSON.parse(body.toString('utf8')) as { mediaType?: string; manifests?: unknown };
  return { body, digest, mediaType: document.mediaType ?? (document.manifests ? mediaTypes.index : mediaTypes.manifest) };
}

function fromRuntime(runtime: Runtime, { digest, size }: StoredContent, signal: AbortSignal): ServedBlob {
  return { size, stream: (range) => runtime.readContent(digest, range?.start ?? 0, range ? range.end - range.start + 1 : size, signal) };
}

async function fromStore(store: BlobStore, digest: string): Promise<ServedBlob | undefined> {
  const found = await store.stat(digest);
  return found && { size: found.size, stream: (range) => store.read(digest, range) };
}
