import { pipeline, type Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { HashingStream } from '../util/hashing.ts';
import { AppendedReader, type AppendedSource, type Pace } from './appended.ts';
import type { BlobInfo } from './blob.ts';
import { digestOf } from './digest.ts';
import type { Compression } from './encoding-choice.ts';
import { ImageError } from './errors.ts';
import { LinkRate } from './link-rate.ts';
import { acceptManifests, maxManifestBytes } from './media-types.ts';
import { PageSender } from './page-sender.ts';
import { patchedDigest } from './patch.ts';
import { persistently } from './persistently.ts';
import { Places, placesType } from './places.ts';
import { readLimited } from './read-limited.ts';
import { isDigest, isRepository, isTag } from './reference.ts';
import { type RegistryOptions, Transport, type TransportResponse } from './transport.ts';
import { checksumHeader, pagesHeader, patchableHeader, patchHeader, placesHeader, uploadDigestHeader } from './upload-headers.ts';
import { encodePatch, patchType, smallPatchBytes } from './whole-patch.ts';

export type { RegistryOptions } from './transport.ts';

export interface CallOptions {
  signal?: AbortSignal;
}

export interface TransferOptions extends CallOptions {
  /** Called with the bytes that have passed so far. */
  onProgress?: (bytes: number) => void;
}

export interface UploadOptions extends TransferOptions {
  /** Called when it is known what is being stored, where that is some time before it is. */
  onDigest?: (blob: BlobInfo) => void;
}

export interface AppendedOptions extends TransferOptions {
  pace?: Pace;
  /** Whether the blob may be patched later. Only for registries of podferry's. */
  patchable?: boolean;
  /** Digest of a blob of the repository that is to be patched: the source says where its content belongs. Only for registries of podferry's. */
  patch?: string;
}

export interface Manifest {
  body: Buffer;
  mediaType: string;
  /** `sha256:…` of the body. */
  digest: string;
}

/** How long deleting an abandoned upload session may take; after that the registry has to forget it by itself. Milliseconds. */
const cancelMs = 5_000;

/** Tags that are asked for at a time. */
const tagsAtOnce = 1000;

/** How often in a row it goes on after a connection that broke, and how long it waits before, the longer the more often. Milliseconds. */
const resumes = 5;
const resumeMs = 200;

/**
 * A client of the OCI distribution specification v1.1 (github.com/opencontainers/distribution-spec, spec.md) for one
 * registry. Blobs are streams, with backpressure; nothing is kept in memory or on disk. Every call throws ImageError;
 * `unauthorized`, `denied`, `unreachable`, `tls`, `aborted` and `protocol` can come from any of them.
 */
export class RegistryClient {
  readonly #transport: Transport;
  readonly #commitMs: number;
  readonly #link = new LinkRate();

  constructor(options: RegistryOptions) {
    this.#transport = new Transport(options);
    this.#commitMs = options.timeouts?.commitMs ?? 600_000;
  }

  /** `https://HOST:PORT` */
  get origin(): string {
    return this.#transport.base.origin;
  }

  /** Closes the connections; what is under way fails. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  /** Whether the registry answers and takes the credentials (spec: "Determining Support"). */
  async ping(options: CallOptions = {}): Promise<void> {
    const response = await this.#transport.send({
      method: 'GET',
      target: '/v2/',
      doing: 'asking for /v2/',
      scopes: [],
      expect: [200],
      signal: options.signal,
    });
    await response.body.dump();
  }

  /** Size of a blob, undefined if the repository has none such. */
  async headBlob(repository: string, digest: string, options: CallOptions = {}): Promise<{ size: number } | undefined> {
    const response = await this.#transport.send({
      method: 'HEAD',
      target: blobPath(repository, digest),
      doing: `looking for blob ${digest} of ${repository}`,
      scopes: [pull(repository)],
      expect: [200, 404],
      signal: options.signal,
    });
    await response.body.dump();
    return response.statusCode === 404 ? undefined : { size: Number(response.headers['content-length'] ?? Number.NaN) };
  }

  /**
   * A blob's content; the stream fails with `digest-mismatch`, before its end is signalled, when it is another. `size` is
   * undefined when the registry names none. Redirects to storage elsewhere are followed, without credentials.
   * @throws ImageError `not-found`
   */
  async getBlob(
    repository: string,
    digest: string,
    options: TransferOptions = {},
  ): Promise<{ stream: Readable; size: number | undefined }> {
    const doing = `fetching blob ${digest} of ${repository}`;
    const response = await this.#transport.send({
      method: 'GET',
      target: blobPath(repository, digest),
      doing,
      scopes: [pull(repository)],
      expect: [200],
      signal: options.signal,
    });
    const check = (found: string, bytes: number) =>
      found === digest
        ? undefined
        : new ImageError('digest-mismatch', `registry ${this.origin}, ${doing}: ${bytes} bytes came with digest ${found}`);
    const verified = new Verified({ check, onProgress: options.onProgress }, (error) =>
      this.#transport.failure({ doing, signal: options.signal }, error),
    );
    pipeline(response.body, verified, () => undefined);
    const length = response.headers['content-length'];
    return { stream: verified, size: typeof length === 'string' ? Number(length) : undefined };
  }

  /**
   * Uploads a stream whose digest is not known before: POST, one streamed PATCH, PUT with the digest (spec: "Pushing a blob
   * in chunks", as Docker does it). A registry that takes no PATCH (405, 501) needs the whole blob in one PUT, so its
   * digest first: that works when `source` is a function that gives the stream twice.
   * On failure the upload session is deleted. An error of the source is thrown as it is.
   * @throws ImageError `no-space`, `too-large`, `digest-mismatch`
   */
  async uploadBlob(repository: string, source: Readable | (() => Readable), options: UploadOptions = {}): Promise<BlobInfo> {
    const stream = typeof source === 'function' ? source() : source;
    const hashing = new HashingStream({ onProgress: options.onProgress });
    let sourceError: Error | undefined;
    stream.on('error', (error) => {
      // When the connection breaks, the pipeline destroys the source with that error: not the source's own.
      if (!hashing.destroyed) sourceError = error;
    });
    const common = { doing: `uploading a blob to ${repository}`, scopes: [push(repository)], signal: options.signal };
    let session: URL;
    try {
      session = await this.#beginUpload(repository, options);
    } catch (error) {
      stream.destroy();
      throw sourceError ?? error;
    }
    pipeline(stream, hashing, () => undefined);
    try {
      const response = await this.#transport.send({
        ...common,
        method: 'PATCH',
        target: session,
        expect: [202, 201, 204],
        headers: { 'content-type': 'application/octet-stream' },
        body: hashing,
      });
      await response.body.dump();
      session = this.#location(response, session);
    } catch (error) {
      stream.destroy();
      hashing.destroy();
      await this.#cancelUpload(repository, session);
      if (sourceError !== undefined) throw sourceError;
      const refused = error instanceof ImageError && (error.status === 405 || error.status === 501);
      if (refused && typeof source === 'function') return this.#uploadWhole(repository, source, options);
      throw error;
    }
    const info = { digest: hashing.digest, size: hashing.bytes };
    options.onDigest?.(info);
    await this.#completeUpload(repository, session, info, undefined, options);
    return info;
  }

  /**
   * Uploads content that may still grow, in segments (spec: "Pushing a blob in chunks"), each as soon as there is something
   * to be sent. When the connection breaks it goes on from where the registry is. Only for registries of podferry's: they do
   * the hashing; zeros are not sent, and the rest compressed where that is faster, if the registry says that it knows how. An
   * error of the source is thrown as it is.
   * @returns `digest` of the blob as it is stored, `size`: of the content; `wire`: bytes that travelled, with what had to be sent
   * again; without HTTP's and TLS's own
   * @throws ImageError `no-space`, `digest-mismatch`; `not-found` also when the upload, or the blob to be patched, is not there (any more)
   */
  async uploadAppended(
    repository: string,
    source: AppendedSource,
    options: AppendedOptions = {},
  ): Promise<BlobInfo & { crc32: number; wire: number }> {
    const { pace, onProgress: passed, patch, patchable } = options;
    const signal = options.signal ?? new AbortController().signal;
    const reader = new AppendedReader(source);
    const small = patch === undefined ? undefined : await reader.rest(smallPatchBytes, options.signal);
    const begun =
      patch !== undefined && small !== undefined
        ? await this.#patchAtOnce(repository, source, small, { ...options, signal, patch })
        : await this.#postUpload(repository, options, {
            ...(patchable && { [patchableHeader]: '1' }),
            ...(patch !== undefined && { [patchHeader]: checkDigest(patch) }),
          });
    if ('digest' in begun) return begun;
    let session = this.#location(begun, begun.url);
    if (patch !== undefined && begun.headers[patchHeader] !== patch) {
      await this.#cancelUpload(repository, session);
      throw new ImageError('not-found', `registry ${this.origin}, uploading a blob to ${repository}: it cannot patch ${patch}`);
    }
    const sender = new PageSender(reader, { accepts: acceptedOf(begun), link: this.#link, pace, passed, signal });
    let digest = emptyDigest;
    let failures = 0;
    const patching = async (headers: Record<string, string>, body: AsyncIterable<Buffer> | Buffer) => {
      const call = { doing: `uploading a blob to ${repository}`, scopes: [push(repository)], signal };
      const response = await this.#transport.send({ ...call, method: 'PATCH', target: session, expect: [202], headers, body });
      await response.body.dump();
      session = this.#location(response, session);
      digest = String(response.headers[uploadDigestHeader]);
    };
    const send = async (available: number) => {
      const { length, headers, body, arrived } = sender.segment(available);
      if (patch !== undefined) await patching({ 'content-type': placesType }, placesOf(source, reader.position, length).encode());
      await patching(headers, body);
      arrived();
    };
    try {
      for (let before: { position: number; crc32: number } | undefined; ; ) {
        try {
          if (before) {
            const arrived = await this.#uploaded(repository, session, signal);
            await sender.resume(before, arrived.size);
            digest = arrived.digest;
          }
          const available = await reader.available(signal);
          if (available === 0) break;
          before = { position: reader.position, crc32: reader.crc32 };
          await send(available);
          before = undefined;
          failures = 0;
        } catch (error) {
          if (reader.failure || !before || !(error instanceof ImageError) || error.code !== 'unreachable' || ++failures > resumes)
            throw error;
          await sleep(failures * resumeMs, undefined, { signal });
        }
      }
    } catch (error) {
      await this.#cancelUpload(repository, session);
      throw reader.failure?.error ?? error;
    }
    const info = { digest, size: reader.position, crc32: reader.crc32 };
    const headers = { [checksumHeader]: String(info.crc32) };
    const wire = sender.wire;
    if (patch === undefined) {
      await this.#completeUpload(repository, session, info, undefined, { ...options, headers });
      return { ...info, wire };
    }
    const places = placesOf(source, 0, info.size).digest();
    const stored = patchedDigest(patch, digest, places);
    const patched = { headers: { ...headers, [placesHeader]: places }, stored };
    await this.#completeUpload(repository, session, info, undefined, { ...options, ...patched });
    return { ...info, digest: stored, wire };
  }

  /**
   * All of a small patch in the request that begins it: a round trip instead of four, while a pod stands still.
   *
   * @param length of the content, bytes
   * @returns the answer, where the registry knows no such requests and has begun an upload
   */
  async #patchAtOnce(
    repository: string,
    source: AppendedSource,
    length: number,
    { patch, pace, onProgress: passed, signal }: AppendedOptions & { patch: string; signal: AbortSignal },
  ): Promise<(BlobInfo & { crc32: number; wire: number }) | TransportResponse> {
    const doing = `patching blob ${checkDigest(patch)} of ${repository}`;
    const reader = new AppendedReader(source);
    const sender = new PageSender(reader, { accepts: ['zstd', 'gzip'], link: this.#link, pace, passed, signal });
    const frames: Buffer[] = [];
    // Pieces are only lent.
    if (length > 0) for await (const piece of sender.segment(length).body) frames.push(Buffer.from(piece));
    const places = placesOf(source, 0, length);
    const body = encodePatch({ places, length, frames: Buffer.concat(frames) });
    const response = await persistently(['unreachable'], signal, () =>
      this.#transport.send({
        method: 'POST',
        target: uploadsPath(repository),
        doing,
        scopes: [push(repository)],
        expect: [201, 202],
        headers: { 'content-type': patchType, 'content-length': String(body.length), [patchHeader]: patch },
        body,
        signal,
        headersMs: this.#commitMs,
      }),
    );
    await response.body.dump();
    if (response.statusCode === 202) return response;
    const digest = patchedDigest(patch, String(response.headers[uploadDigestHeader]), places.digest());
    this.#sameDigest(response, digest, doing);
    return { digest, size: length, crc32: reader.crc32, wire: sender.wire };
  }

  /** What of an upload has arrived. */
  async #uploaded(repository: string, session: URL, signal: AbortSignal): Promise<BlobInfo> {
    const response = await this.#transport.send({
      method: 'GET',
      target: session,
      doing: `asking how much of an upload to ${repository} has arrived`,
      scopes: [push(repository)],
      expect: [204],
      signal,
    });
    await response.body.dump();
    const last = Number(/^0-(\d+)$/.exec(String(response.headers.range))?.[1] ?? 0);
    const digest = String(response.headers[uploadDigestHeader]);
    // Nothing at all is said as `0-0` too.
    return { size: digest === emptyDigest ? 0 : last + 1, digest };
  }

  /** Uploads a small blob (a config) in one POST ("Single POST"), or, where the registry only begins an upload then, in a PUT. */
  async putBlob(repository: string, content: Buffer, options: CallOptions = {}): Promise<BlobInfo> {
    const info = { digest: digestOf(content), size: content.length };
    const doing = `uploading blob ${info.digest} (${info.size} bytes) to ${repository}`;
    const response = await this.#transport.send({
      method: 'POST',
      target: `${uploadsPath(repository)}?digest=${encodeURIComponent(info.digest)}`,
      doing,
      scopes: [push(repository)],
      expect: [201, 202],
      headers: { 'content-type': 'application/octet-stream', 'content-length': String(info.size) },
      body: content,
      signal: options.signal,
    });
    await response.body.dump();
    if (response.statusCode === 202) await this.#completeUpload(repository, this.#location(response, response.url), info, content, options);
    else this.#sameDigest(response, info.digest, doing);
    return info;
  }

  /**
   * Makes content a blob of a repository with as little sent as can be: nothing when it is there ("Checking if content exists
   * in the registry"), nothing when the registry mounts it from another repository of its own ("Mounting a blob"). One that
   * does not has begun an upload instead, which is used.
   *
   * @param digest of the content
   * @param options.from a repository that may have it
   * @returns whether the content was sent
   * @throws ImageError `no-space`, `too-large`, `digest-mismatch`
   */
  async ensureBlob(repository: string, digest: string, content: Buffer, options: CallOptions & { from?: string } = {}): Promise<boolean> {
    const { from, ...call } = options;
    const mounted = from === undefined ? undefined : await this.#mountBlob(repository, from, digest, call);
    if (mounted === 'mounted') return false;
    if (!mounted && (await this.headBlob(repository, digest, call))) return false;
    const session = mounted ?? (await this.#beginUpload(repository, call));
    await this.#completeUpload(repository, session, { digest, size: content.length }, content, call);
    return true;
  }

  /** @returns where to upload it, when the registry does not mount it; undefined when it refuses to, as one does whose credentials are not for both */
  async #mountBlob(repository: string, from: string, digest: string, options: CallOptions): Promise<URL | 'mounted' | undefined> {
    const target = `${uploadsPath(repository)}?mount=${encodeURIComponent(checkDigest(digest))}&from=${encodeURIComponent(checkRepository(from))}`;
    const response = await this.#transport.send({
      method: 'POST',
      target,
      doing: `mounting blob ${digest} of ${from} in ${repository}`,
      scopes: [push(repository), pull(from)],
      expect: [201, 202, 401, 403, 404],
      headers: { 'content-length': '0' },
      signal: options.signal,
    });
    await response.body.dump();
    if (response.statusCode === 201) return 'mounted';
    return response.statusCode === 202 ? this.#location(response, response.url) : undefined;
  }

  /** All tags of a repository ("Listing Tags"); none when there is no such repository. At most 4 MiB an answer. */
  async listTags(repository: string, options: CallOptions = {}): Promise<string[]> {
    const doing = `listing the tags of ${repository}`;
    const tags: string[] = [];
    let target: string | URL = `/v2/${checkRepository(repository)}/tags/list?n=${tagsAtOnce}`;
    for (;;) {
      const response: TransportResponse = await this.#transport.send({
        method: 'GET',
        target,
        doing,
        scopes: [pull(repository)],
        expect: [200, 404],
        signal: options.signal,
      });
      if (response.statusCode === 404) {
        await response.body.dump();
        return tags;
      }
      const body = await this.#documentOf(response, doing, options.signal);
      const found = tagsOf(body);
      if (!found) throw new ImageError('protocol', `registry ${this.origin}, ${doing}: its answer has no list of tags`);
      tags.push(...found);
      const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(String(response.headers.link ?? ''))?.[1];
      if (next === undefined || found.length === 0 || !URL.canParse(next, response.url.href)) return tags;
      target = new URL(next, response.url);
    }
  }

  /**
   * A manifest by tag or digest; undefined when there is none. At most 4 MiB.
   * @throws ImageError `digest-mismatch`, `too-large`
   */
  async getManifest(repository: string, reference: string, options: CallOptions = {}): Promise<Manifest | undefined> {
    const doing = `fetching the manifest of ${repository}, ${reference}`;
    const response = await this.#transport.send({
      method: 'GET',
      target: manifestPath(repository, reference),
      doing,
      scopes: [pull(repository)],
      expect: [200, 404],
      headers: { accept: acceptManifests },
      signal: options.signal,
    });
    if (response.statusCode === 404) {
      await response.body.dump();
      return undefined;
    }
    const body = await this.#documentOf(response, doing, options.signal);
    if (body === undefined)
      throw new ImageError('too-large', `registry ${this.origin}, ${doing}: it is larger than ${maxManifestBytes} bytes`);
    const digest = digestOf(body);
    const wanted = isDigest(reference) ? reference : response.headers['docker-content-digest'];
    if (typeof wanted === 'string' && wanted !== digest) {
      throw new ImageError('digest-mismatch', `registry ${this.origin}, ${doing}: expected ${wanted}, its content has ${digest}`);
    }
    return { body, mediaType: String(response.headers['content-type'] ?? '').split(';')[0] as string, digest };
  }

  /** Stores a manifest under a tag or its digest; returns its digest. All that it refers to must be there already. */
  async putManifest(repository: string, reference: string, body: Buffer, mediaType: string, options: CallOptions = {}): Promise<string> {
    const digest = digestOf(body);
    const response = await this.#transport.send({
      method: 'PUT',
      target: manifestPath(repository, reference),
      doing: `pushing the manifest of ${repository}, ${reference}`,
      scopes: [push(repository)],
      expect: [201, 200, 204],
      headers: { 'content-type': mediaType },
      body,
      signal: options.signal,
    });
    await response.body.dump();
    this.#sameDigest(response, digest, `pushing the manifest of ${repository}`);
    return digest;
  }

  /** Deletes a manifest by digest (or a tag, where the registry can). False: there is none. Blobs go with the registry's garbage collection. */
  async deleteManifest(repository: string, reference: string, options: CallOptions = {}): Promise<boolean> {
    const response = await this.#transport.send({
      method: 'DELETE',
      target: manifestPath(repository, reference),
      doing: `deleting the manifest of ${repository}, ${reference}`,
      scopes: [`repository:${repository}:pull,push,delete`],
      expect: [202, 200, 204, 404],
      signal: options.signal,
    });
    await response.body.dump();
    return response.statusCode !== 404;
  }

  /** An answer's body; undefined when it is larger than 4 MiB. */
  async #documentOf(response: TransportResponse, doing: string, signal: AbortSignal | undefined): Promise<Buffer | undefined> {
    try {
      return await readLimited(response.body, maxManifestBytes);
    } catch (error) {
      throw this.#transport.failure({ doing, signal }, error);
    }
  }

  async #beginUpload(repository: string, options: CallOptions): Promise<URL> {
    const response = await this.#postUpload(repository, options);
    return this.#location(response, response.url);
  }

  async #postUpload(repository: string, options: CallOptions, headers: Record<string, string> = {}): Promise<TransportResponse> {
    const response = await this.#transport.send({
      method: 'POST',
      target: uploadsPath(repository),
      doing: `beginning an upload to ${repository}`,
      scopes: [push(repository)],
      expect: [202],
      headers: { ...headers, 'content-length': '0' },
      signal: options.signal,
    });
    await response.body.dump();
    return response;
  }

  /** The closing PUT, with the content when it was not sent before. Deletes the session on failure. `stored`: the digest, if not that of the content. */
  async #completeUpload(
    repository: string,
    session: URL,
    info: BlobInfo,
    content: Buffer | Readable | undefined,
    options: CallOptions & { headers?: Record<string, string>; stored?: string },
  ): Promise<void> {
    const doing = `completing blob ${info.digest} (${info.size} bytes) of ${repository}`;
    // By hand: a registry's own parameters (its state, signed) must stay as they are.
    const target = new URL(`${session.href}${session.search === '' ? '?' : '&'}digest=${encodeURIComponent(info.digest)}`);
    try {
      const response = await this.#transport.send({
        method: 'PUT',
        target,
        doing,
        scopes: [push(repository)],
        expect: [201, 204],
        headers: {
          ...options.headers,
          ...(content === undefined
            ? { 'content-length': '0' }
            : { 'content-type': 'application/octet-stream', 'content-length': String(info.size) }),
        },
        ...(content !== undefined && { body: content }),
        signal: options.signal,
        headersMs: this.#commitMs,
      });
      await response.body.dump();
      this.#sameDigest(response, options.stored ?? info.digest, doing);
    } catch (error) {
      await this.#cancelUpload(repository, session);
      throw error;
    }
  }

  /** Twice over the source: once for the digest, once to send it. */
  async #uploadWhole(repository: string, source: () => Readable, options: TransferOptions): Promise<BlobInfo> {
    const first = new HashingStream();
    pipeline(source(), first, () => undefined);
    for await (const _ of first) options.signal?.throwIfAborted();
    const info = { digest: first.digest, size: first.bytes };
    const second = new HashingStream({ onProgress: options.onProgress });
    const session = await this.#beginUpload(repository, options);
    pipeline(source(), second, () => undefined);
    await this.#completeUpload(repository, session, info, second, options);
    return info;
  }

  /** Best effort: the registry drops old sessions anyway. Not bound to the caller's signal, which may be why we are here. */
  async #cancelUpload(repository: string, session: URL): Promise<void> {
    const expect = [204, 200, 202, 404, 405];
    const signal = AbortSignal.timeout(cancelMs);
    await this.#transport
      .send({
        method: 'DELETE',
        target: session,
        doing: `giving up an upload to ${repository}`,
        scopes: [push(repository)],
        expect,
        signal,
      })
      .then((response) => response.body.dump())
      .catch(() => undefined);
  }

  #location(response: TransportResponse, from: URL): URL {
    const location = response.headers.location;
    if (typeof location !== 'string' || !URL.canParse(location, from.href)) {
      throw new ImageError('protocol', `registry ${this.origin}: an upload's answer has no usable Location (${JSON.stringify(location)})`);
    }
    const url = new URL(location, from);
    // A registry behind a TLS proxy often names itself with http: never leave TLS because of that.
    if (url.protocol === 'http:' && this.#transport.base.protocol === 'https:' && url.hostname === this.#transport.base.hostname) {
      return new URL(url.pathname + url.search, this.#transport.base);
    }
    return url;
  }

  #sameDigest(response: TransportResponse, digest: string, doing: string): void {
    const found = response.headers['docker-content-digest'];
    if (typeof found === 'string' && found.startsWith('sha256:') && found !== digest) {
      throw new ImageError('digest-mismatch', `registry ${this.origin}, ${doing}: it stored ${found} instead of ${digest}`);
    }
  }
}

/** `null` is how some say that there are none. */
function tagsOf(body: Buffer | undefined): string[] | undefined {
  try {
    const { tags } = JSON.parse(body?.toString('utf8') ?? '') as { tags?: unknown };
    if (tags === null) return [];
    return Array.isArray(tags) && tags.every((tag) => typeof tag === 'string') ? tags : undefined;
  } catch {
    return undefined;
  }
}

/** A verified body whose transport errors are put in words too. */
class Verified extends HashingStream {
  readonly #explain: (error: unknown) => Error;

  constructor(options: ConstructorParameters<typeof HashingStream>[0], explain: (error: unknown) => Error) {
    super(options);
    this.#explain = explain;
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    done(error === null ? null : this.#explain(error));
  }
}

function placesOf(source: AppendedSource, position: number, length: number): Places {
  const places = new Places();
  source.places?.(position, length, (at, bytes) => places.add(at, bytes));
  return places;
}

/** What an upload's registry decodes; undefined: it is one that knows no frames of pages. */
function acceptedOf(response: TransportResponse): Compression[] | undefined {
  const header = response.headers[pagesHeader];
  if (typeof header !== 'string') return undefined;
  const names = header.split(',').map((name) => name.trim());
  return (['zstd', 'gzip'] as const).filter((compression) => names.includes(compression));
}

const emptyDigest = digestOf(Buffer.alloc(0));

const pull = (repository: string) => `repository:${repository}:pull`;
const push = (repository: string) => `repository:${repository}:pull,push`;

function checkRepository(repository: string): string {
  if (!isRepository(repository)) throw new ImageError('protocol', `${JSON.stringify(repository)} is not a repository name`);
  return repository;
}

function checkDigest(digest: string): string {
  if (!isDigest(digest)) throw new ImageError('protocol', `${JSON.stringify(digest)} is not a digest`);
  return digest;
}

function manifestPath(repository: string, reference: string): string {
  if (!isTag(reference)) checkDigest(reference);
  return `/v2/${checkRepository(repository)}/manifests/${reference}`;
}

const blobPath = (repository: string, digest: string) => `/v2/${checkRepository(repository)}/blobs/${checkDigest(digest)}`;
const uploadsPath = (repository: string) => `/v2/${checkRepository(repository)}/blobs/uploads/`;
