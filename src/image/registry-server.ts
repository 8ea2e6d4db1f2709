import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline, Readable } from 'node:stream';
import { isAbort, messageOf } from '../util/errors.ts';
import type { BlobInfo, BlobUpload, Decoder } from './blob.ts';
import type { ByteRange } from './blob-store.ts';
import { digestOf } from './digest.ts';
import { ImageError } from './errors.ts';
import { maxManifestBytes, mediaTypes } from './media-types.ts';
import { contentOfFrames, maxFramedBytes, pagesType } from './page-frames.ts';
import { maxPlacesBytes, Places, placesType } from './places.ts';
import { readLimited } from './read-limited.ts';
import { isDigest, isRepository, isTag } from './reference.ts';
import type { Manifest } from './registry-client.ts';
import { checksumHeader, pagesHeader, patchableHeader, patchHeader, placesHeader, uploadDigestHeader } from './upload-headers.ts';
import { decodePatch, maxPatchBytes, patchType } from './whole-patch.ts';

export type { Manifest } from './registry-client.ts';

export interface ServedBlob {
  /** Bytes. */
  size: number;
  stream(range?: ByteRange): Readable;
}

/** Taking in; a registry without it is read-only (405). */
export interface RegistryUploads {
  /** Whether this repository may be pushed to; false answers 404, as if it did not exist. */
  accept(repository: string): Promise<boolean>;
  /**
   * A new blob; the registry calls `append` (and, before that, `place`), then `commit` or `abort`. `BlobStore` has it.
   *
   * @param options.patchable whether it may be patched later
   * @param options.patch digest of a blob that is to be patched
   * @throws ImageError `not-found` when that is not there
   */
  create(repository: string, options: { patchable: boolean; patch: string | undefined }): Promise<BlobUpload>;
  /** A blob was stored, its digest verified. From here on `openBlob` of this repository must know it. */
  completed?(repository: string, blob: { digest: string; size: number }): Promise<void>;
  /** Stores a manifest; all that it refers to is there. `reference` is a tag or the manifest's digest. */
  putManifest(repository: string, reference: string, manifest: Manifest): Promise<void>;
}

/** What a registry serves. Unknown repositories, manifests and blobs are undefined; they look alike from outside. */
export interface RegistryBackend {
  /** `reference` is a tag or a digest. It may take its time (the client waits); the signal fires when the client is gone. */
  resolveManifest(repository: string, reference: string, options: { signal: AbortSignal }): Promise<Manifest | undefined>;
  openBlob(repository: string, digest: string, options: { signal: AbortSignal }): Promise<ServedBlob | undefined>;
  uploads?: RegistryUploads;
}

export interface RegistryServerOptions {
  /** An upload that gets nothing for this long is dropped. Default 5 min, milliseconds. */
  uploadIdleMs?: number;
  /** Told of answers that are the server's own fault (500, 507), and of why. */
  onError?: (error: unknown, request: { method: string; path: string }) => void;
}

/** A handler for `node:http(s)` servers; `close` drops the uploads under way. */
export interface RegistryHandler {
  (request: IncomingMessage, response: ServerResponse): void;
  close(): Promise<void>;
}

interface Session {
  repository: string;
  upload: BlobUpload;
  /** Whether a request is at it. */
  busy: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** An answer that refuses: status, and code of the distribution specification v1.1, "Error Codes". */
class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const unknownName = (repository: string) => new Refusal(404, 'NAME_UNKNOWN', `repository ${repository} is not known to this registry`);

/**
 * A small registry (OCI distribution specification v1.1): pull by tag or digest with ranges, push by POST, PATCH, PUT or in
 * one, no listing, no deletion of content, no mounts (answered with an upload, as the specification allows). What there is,
 * and who may push where, its backend says; who may connect at all is up to the server (TLS, address). Set
 * `requestTimeout = 0` on the server: Node.js ends requests that take longer than 5 min to arrive, as large uploads may.
 */
export function createRegistryHandler(backend: RegistryBackend, options: RegistryServerOptions = {}): RegistryHandler {
  const registry = new Registry(backend, options);
  const handler = (request: IncomingMessage, response: ServerResponse) => void registry.handle(request, response);
  return Object.assign(handler, { close: () => registry.close() });
}

class Registry {
  readonly #backend: RegistryBackend;
  readonly #options: RegistryServerOptions;
  readonly #sessions = new Map<string, Session>();

  constructor(backend: RegistryBackend, options: RegistryServerOptions) {
    this.#backend = backend;
    this.#options = options;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sessions.keys()].map((id) => this.#drop(id)));
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.on('close', () => gone.abort(new Error('the client closed the connection')));
    response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0');
    const { pathname } = new URL(request.url ?? '/', 'http://registry');
    try {
      await this.#route(request, response, pathname, gone.signal);
    } catch (error) {
      this.#refuse(request, response, pathname, error);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse, path: string, signal: AbortSignal): Promise<void> {
    const method = request.method ?? 'GET';
    const reading = method === 'GET' || method === 'HEAD';
    if (path === '/v2/' || path === '/v2') {
      if (!reading) throw new Refusal(405, 'UNSUPPORTED', `${method} is not supported here`);
      this.#send(request, response, 200, { 'Content-Type': 'application/json' }, Buffer.from('{}'));
      return;
    }
    const match = /^\/v2\/(.+)\/(manifests|blobs\/uploads|blobs)\/([^/]*)$/.exec(path);
    const [, repository = '', kind = '', last = ''] = match ?? [];
    if (match === null) throw new Refusal(404, 'UNSUPPORTED', 'no such endpoint');
    if (!isRepository(repository)) throw new Refusal(400, 'NAME_INVALID', `${repository} is not a repository name`);
    if (kind === 'manifests') {
      if (!isTag(last) && !isDigest(last)) throw new Refusal(400, 'MANIFEST_INVALID', `${last} is neither a tag nor a digest`);
      if (reading) return this.#getManifest(request, response, repository, last, signal);
      if (method === 'PUT') return this.#putManifest(request, response, repository, last, signal);
    } else if (kind === 'blobs') {
      if (!isDigest(last)) throw new Refusal(400, 'DIGEST_INVALID', `${last} is not a digest`);
      if (reading) return this.#getBlob(request, response, repository, last, signal);
    } else if (method === 'POST' && last === '') return this.#beginUpload(request, response, repository);
    else if (method === 'PATCH' || method === 'PUT') return this.#continueUpload(request, response, repository, last);
    else if (method === 'DELETE') {
      this.#session(repository, last);
      await this.#drop(last);
      this.#send(request, response, 204, {});
      return;
    } else if (method === 'GET') {
      const { upload, busy } = this.#session(repository, last);
      // Its client may have gone without this having been noticed yet.
      if (busy) throw new Refusal(503, 'BLOB_UPLOAD_INVALID', 'a request is still writing to this upload');
      this.#send(request, response, 204, this.#sessionHeaders(repository, last, upload));
      return;
    }
    throw new Refusal(405, 'UNSUPPORTED', `${method} is not supported here`);
  }

  async #getManifest(
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    reference: string,
    signal: AbortSignal,
  ): Promise<void> {
    const manifest = await this.#backend.resolveManifest(repository, reference, { signal });
    if (manifest === undefined) throw new Refusal(404, 'MANIFEST_UNKNOWN', `${repository} has no manifest ${reference}`);
    const headers = { 'Content-Type': manifest.mediaType, 'Docker-Content-Digest': manifest.digest };
    this.#send(request, response, 200, headers, manifest.body);
  }

  async #getBlob(
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    digest: string,
    signal: AbortSignal,
  ): Promise<void> {
    const blob = await this.#backend.openBlob(repository, digest, { signal });
    if (blob === undefined) throw new Refusal(404, 'BLOB_UNKNOWN', `${repository} has no blob ${digest}`);
    const headers = {
      'Content-Type': 'application/octet-stream',
      'Docker-Content-Digest': digest,
      'Accept-Ranges': 'bytes',
      ETag: `"${digest}"`,
    };
    const range = parseRange(request.headers.range, blob.size);
    if (range === 'unsatisfiable') {
      response.setHeader('Content-Range', `bytes */${blob.size}`);
      throw new Refusal(416, 'BLOB_UNKNOWN', `the blob has ${blob.size} bytes; ${request.headers.range} is outside`);
    }
    const length = range === undefined ? blob.size : range.end - range.start + 1;
    response.writeHead(range === undefined ? 200 : 206, {
      ...headers,
      'Content-Length': length,
      ...(range && { 'Content-Range': `bytes ${range.start}-${range.end}/${blob.size}` }),
    });
    if (request.method === 'HEAD' || length === 0) {
      response.end();
      return;
    }
    // A source that fails half-way ends the connection short of the announced length: the client sees it.
    pipeline(blob.stream(range), response, (error) => {
      // A client that leaves is no fault of the server's.
      if (error && !isAbort(error)) this.#report(error, request);
    });
  }

  async #putManifest(
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    reference: string,
    signal: AbortSignal,
  ): Promise<void> {
    const uploads = await this.#writable(repository);
    const body = await readLimited(request, maxManifestBytes);
    if (body === undefined) throw new Refusal(413, 'SIZE_INVALID', `a manifest may have at most ${maxManifestBytes} bytes`);
    const digest = digestOf(body);
    if (isDigest(reference) && reference !== digest)
      throw new Refusal(400, 'DIGEST_INVALID', `the manifest has digest ${digest}, not ${reference}`);
    const { mediaType, blobs, manifests } = readManifest(body, request.headers['content-type']);
    for (const blob of blobs) {
      if ((await this.#backend.openBlob(repository, blob, { signal })) === undefined) {
        throw new Refusal(404, 'MANIFEST_BLOB_UNKNOWN', `the manifest refers to blob ${blob}, which ${repository} does not have`);
      }
    }
    for (const manifest of manifests) {
      if ((await this.#backend.resolveManifest(repository, manifest, { signal })) === undefined) {
        throw new Refusal(404, 'MANIFEST_UNKNOWN', `the index refers to manifest ${manifest}, which ${repository} does not have`);
      }
    }
    await uploads.putManifest(repository, reference, { body, mediaType, digest });
    this.#send(request, response, 201, { Location: `/v2/${repository}/manifests/${digest}`, 'Docker-Content-Digest': digest });
  }

  async #beginUpload(request: IncomingMessage, response: ServerResponse, repository: string): Promise<void> {
    const uploads = await this.#writable(repository);
    const patch = request.headers[patchHeader];
    if (typeof patch === 'string' && request.headers['content-type'] === patchType)
      return this.#patch(request, response, repository, uploads, patch);
    const upload = await uploads.create(repository, {
      patchable: request.headers[patchableHeader] === '1',
      patch: typeof patch === 'string' ? patch : undefined,
    });
    // Whoever knows the id may write to the upload: 256 random bits.
    const id = randomBytes(32).toString('base64url');
    const session: Session = { repository, upload, busy: false, timer: undefined };
    this.#sessions.set(id, session);
    this.#rest(id, session);
    const digest = new URL(request.url as string, 'http://registry').searchParams.get('digest');
    if (digest !== null) return this.#complete(request, response, id, session, digest);
    const patching = typeof patch === 'string' && { [patchHeader]: patch };
    this.#send(request, response, 202, { ...this.#sessionHeaders(repository, id, upload), ...patching });
  }

  async #patch(
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    uploads: RegistryUploads,
    base: string,
  ): Promise<void> {
    const body = await readLimited(request, maxPatchBytes);
    if (body === undefined) throw new Refusal(413, 'SIZE_INVALID', `a patch in one request may have at most ${maxPatchBytes} bytes`);
    const { places, length, frames } = decodePatch(body);
    const upload = await uploads.create(repository, { patchable: false, patch: base });
    try {
      upload.place?.(places);
      await upload.append(Readable.from([frames]), { decode: (batches) => contentOfFrames(batches, length) });
      const { digest } = upload;
      const blob = await upload.commit({ digest, size: length, places: places.digest() });
      await uploads.completed?.(repository, blob);
      this.#created(request, response, repository, blob, { [uploadDigestHeader]: digest });
    } catch (error) {
      await upload.abort();
      throw error;
    }
  }

  async #continueUpload(request: IncomingMessage, response: ServerResponse, repository: string, id: string): Promise<void> {
    const session = this.#session(repository, id);
    if (session.busy) throw new Refusal(409, 'BLOB_UPLOAD_INVALID', 'another request is writing to this upload');
    if (request.method === 'PUT') {
      const digest = new URL(request.url as string, 'http://registry').searchParams.get('digest');
      return this.#complete(request, response, id, session, digest ?? '');
    }
    if (request.headers['content-type'] === placesType) return this.#place(request, response, id, session);
    const [, start, last] = /^(?:bytes[ =])?(\d+)-(\d+)/.exec(request.headers['content-range'] ?? '') ?? [];
    if (start !== undefined && Number(start) !== session.upload.size) {
      throw new Refusal(416, 'BLOB_UPLOAD_INVALID', `the upload has ${session.upload.size} bytes; the chunk begins at ${start}`);
    }
    const framed = request.headers['content-type'] === pagesType;
    const length = Number(last) - Number(start) + 1;
    if (framed && !(length > 0)) throw new Refusal(400, 'BLOB_UPLOAD_INVALID', 'frames of pages need a Content-Range');
    if (framed && length > maxFramedBytes)
      throw new Refusal(413, 'SIZE_INVALID', `frames of pages may have at most ${maxFramedBytes} bytes of content, not ${length}`);
    await this.#append(request, id, session, framed ? (batches) => contentOfFrames(batches, length) : undefined);
    this.#send(request, response, 202, this.#sessionHeaders(repository, id, session.upload));
  }

  async #place(request: IncomingMessage, response: ServerResponse, id: string, session: Session): Promise<void> {
    const { repository, upload } = session;
    if (!upload.place) throw new Refusal(400, 'BLOB_UPLOAD_INVALID', 'the upload is not a patch');
    const body = await readLimited(request, maxPlacesBytes);
    if (body === undefined) throw new Refusal(413, 'SIZE_INVALID', `places may have at most ${maxPlacesBytes} bytes`);
    upload.place(Places.decode(body));
    this.#send(request, response, 202, this.#sessionHeaders(repository, id, upload));
  }

  /** Takes the request's body. One that breaks off leaves what came of it, for the client to go on (spec: "Pushing a blob in chunks"). */
  async #append(request: IncomingMessage, id: string, session: Session, decode?: Decoder): Promise<void> {
    clearTimeout(session.timer);
    session.busy = true;
    try {
      await session.upload.append(request, { ...(decode && { decode }) });
    } catch (error) {
      if (request.complete || !request.destroyed) await this.#drop(id);
      throw error;
    } finally {
      session.busy = false;
      if (this.#sessions.has(id)) this.#rest(id, session);
    }
  }

  async #complete(request: IncomingMessage, response: ServerResponse, id: string, session: Session, digest: string): Promise<void> {
    if (!isDigest(digest)) throw new Refusal(400, 'DIGEST_INVALID', `${JSON.stringify(digest)} is not a digest`);
    await this.#append(request, id, session);
    clearTimeout(session.timer);
    this.#sessions.delete(id);
    const sum = request.headers[checksumHeader];
    const places = request.headers[placesHeader];
    const blob = await session.upload.commit({
      digest,
      ...(typeof sum === 'string' && /^\d+$/.test(sum) && { crc32: Number(sum) }),
      ...(typeof places === 'string' && { places }),
    });
    await this.#backend.uploads?.completed?.(session.repository, blob);
    this.#created(request, response, session.repository, blob);
  }

  #created(request: IncomingMessage, response: ServerResponse, repository: string, { digest }: BlobInfo, headers = {}): void {
    this.#send(request, response, 201, { Location: `/v2/${repository}/blobs/${digest}`, 'Docker-Content-Digest': digest, ...headers });
  }

  async #writable(repository: string): Promise<RegistryUploads> {
    const { uploads } = this.#backend;
    if (uploads === undefined) throw new Refusal(405, 'UNSUPPORTED', 'this registry is read-only');
    if (!(await uploads.accept(repository))) throw unknownName(repository);
    return uploads;
  }

  #session(repository: string, id: string): Session {
    const session = this.#sessions.get(id);
    if (session?.repository !== repository)
      throw new Refusal(404, 'BLOB_UPLOAD_UNKNOWN', 'no such upload; it may have been idle for too long');
    return session;
  }

  #rest(id: string, session: Session): void {
    clearTimeout(session.timer);
    session.timer = setTimeout(() => void this.#drop(id), this.#options.uploadIdleMs ?? 300_000).unref();
  }

  async #drop(id: string): Promise<void> {
    const session = this.#sessions.get(id);
    this.#sessions.delete(id);
    clearTimeout(session?.timer);
    await session?.upload.abort();
  }

  #sessionHeaders(repository: string, id: string, upload: BlobUpload): Record<string, string> {
    return {
      Location: `/v2/${repository}/blobs/uploads/${id}`,
      'Docker-Upload-UUID': id,
      Range: `0-${Math.max(upload.size - 1, 0)}`,
      [uploadDigestHeader]: upload.digest,
      [pagesHeader]: 'zstd, gzip',
    };
  }

  #send(request: IncomingMessage, response: ServerResponse, status: number, headers: Record<string, string>, body?: Buffer): void {
    response.writeHead(status, { ...headers, ...(status !== 204 && { 'Content-Length': String(body?.length ?? 0) }) });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  #refuse(request: IncomingMessage, response: ServerResponse, path: string, error: unknown): void {
    const refusal = error instanceof Refusal ? error : asRefusal(error);
    // A client that went away is no fault of the server's.
    if (refusal.status >= 500 && !response.destroyed) this.#report(error, request);
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    // The rest of a body is not waited for; but closing while it is on its way would lose this answer, so some of it is read.
    if (!request.readableEnded && !request.destroyed) {
      response.setHeader('Connection', 'close');
      request.resume();
      response.on('finish', () => setTimeout(() => request.destroy(), 1000).unref());
    }
    const detail = { code: refusal.code, message: refusal.message, detail: { method: request.method, path } };
    const body = Buffer.from(JSON.stringify({ errors: [detail] }));
    this.#send(request, response, refusal.status, { 'Content-Type': 'application/json' }, body);
  }

  #report(error: unknown, request: IncomingMessage): void {
    this.#options.onError?.(error, { method: request.method ?? '', path: new URL(request.url ?? '/', 'http://registry').pathname });
  }
}

function asRefusal(error: unknown): Refusal {
  const code = error instanceof ImageError ? error.code : undefined;
  if (code === 'digest-mismatch') return new Refusal(400, 'DIGEST_INVALID', messageOf(error));
  if (code === 'no-space') return new Refusal(507, 'UNAVAILABLE', `no space left on the node: ${messageOf(error)}`);
  if (code === 'not-found') return new Refusal(404, 'BLOB_UNKNOWN', messageOf(error));
  if (code === 'too-large') return new Refusal(413, 'SIZE_INVALID', messageOf(error));
  if (code === 'aborted' || code === 'protocol') return new Refusal(400, 'BLOB_UPLOAD_INVALID', messageOf(error));
  return new Refusal(500, 'UNKNOWN', `internal error: ${messageOf(error)}`);
}

/** A single range of RFC 9110, 14.2; anything else (several, other units) is ignored, as the RFC allows. */
function parseRange(header: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  const [, from = '', to = ''] = match;
  // `-N`: the last N bytes.
  const start = from === '' ? Math.max(size - Number(to), 0) : Number(from);
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (from !== '' && to !== '' && Number(to) < start) return undefined;
  return start >= size || (from === '' && to === '0') ? 'unsatisfiable' : { start, end };
}

/** The media type and references of a manifest or index. */
function readManifest(body: Buffer, contentType: string | undefined): { mediaType: string; blobs: string[]; manifests: string[] } {
  let manifest: { mediaType?: unknown; config?: unknown; layers?: unknown; manifests?: unknown };
  try {
    manifest = JSON.parse(body.toString('utf8')) ?? {};
  } catch (error) {
    throw new Refusal(400, 'MANIFEST_INVALID', `the manifest is not valid JSON: ${messageOf(error)}`);
  }
  const stated = contentType?.split(';')[0]?.trim();
  const mediaType = stated || manifest.mediaType;
  if (typeof mediaType !== 'string' || (manifest.mediaType !== undefined && manifest.mediaType !== mediaType)) {
    throw new Refusal(
      400,
      'MANIFEST_INVALID',
      `the manifest's mediaType (${manifest.mediaType}) and its Content-Type (${stated}) do not agree`,
    );
  }
  const digests = (descriptors: unknown[]) =>
    descriptors.map((descriptor) => {
      const digest = (descriptor as { digest?: unknown } | null)?.digest;
      if (typeof digest !== 'string' || !isDigest(digest))
        throw new Refusal(400, 'MANIFEST_INVALID', 'a descriptor in the manifest has no valid digest');
      return digest;
    });
  const isIndex = mediaType === mediaTypes.index || mediaType === mediaTypes.dockerList;
  if (isIndex && Array.isArray(manifest.manifests)) return { mediaType, blobs: [], manifests: digests(manifest.manifests) };
  const isManifest = mediaType === mediaTypes.manifest || mediaType === mediaTypes.dockerManifest;
  if (isManifest && Array.isArray(manifest.layers))
    return { mediaType, blobs: digests([manifest.config, ...manifest.layers]), manifests: [] };
  throw new Refusal(400, 'MANIFEST_INVALID', `${mediaType} is not a manifest that this registry takes, or its layers are missing`);
}
