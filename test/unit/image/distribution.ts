import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';

/** What a repository has. */
interface Repository {
  blobs: Set<string>;
  /** By digest. */
  manifests: Map<string, Buffer>;
  tags: Map<string, string>;
}

const digestOf = (content: Buffer) => `sha256:${createHash('sha256').update(content).digest('hex')}`;

/**
 * A registry in memory that is as strict as github.com/distribution/distribution: what one repository has another has not, a
 * manifest may only name what its own has, mounts work between repositories, tags are listed in pages.
 */
export class Distribution {
  readonly content = new Map<string, Buffer>();
  readonly repositories = new Map<string, Repository>();
  /** `METHOD path` of everything that was asked. */
  readonly asked: string[] = [];
  /** Contents that were sent, bytes each, mounts and manifests not among them. */
  readonly sent: number[] = [];
  /** Contents under way, now and at most. */
  atOnce = 0;
  most = 0;
  mounts = true;
  /** Called before a request is answered; true: it has been answered. */
  before: (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean> = () => false;
  readonly #uploads = new Map<string, string>();

  readonly listener: RequestListener = (request, response) => {
    this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
  };

  repository(name: string): Repository {
    let repository = this.repositories.get(name);
    if (!repository) {
      repository = { blobs: new Set(), manifests: new Map(), tags: new Map() };
      this.repositories.set(name, repository);
    }
    return repository;
  }

  tags(name: string): string[] {
    return [...this.repository(name).tags.keys()].sort();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '' } = request;
    this.asked.push(`${method} ${url}`);
    if (await this.before(request, response)) return;
    const { pathname, searchParams } = new URL(url, 'http://registry');
    const [, name = '', kind = '', last = ''] = /^\/v2\/(.+)\/(manifests|blobs\/uploads|blobs|tags)\/([^/]*)$/.exec(pathname) ?? [];
    const end = (status: number, headers: Record<string, string> = {}, body?: Buffer | string) => {
      request.resume();
      response.writeHead(status, headers).end(method === 'HEAD' ? undefined : body);
    };
    const repository = this.repository(name);
    if (kind === 'tags') {
      const all = this.tags(name);
      if (all.length === 0) return end(404);
      const from = all.findIndex((tag) => tag > (searchParams.get('last') ?? ''));
      const page = from < 0 ? [] : all.slice(from, from + 3);
      const more = from >= 0 && from + 3 < all.length;
      return end(
        200,
        more ? { link: `</v2/${name}/tags/list?n=3&last=${page.at(-1)}>; rel="next"` } : {},
        JSON.stringify({ name, tags: page }),
      );
    }
    if (kind === 'manifests') {
      if (method === 'PUT') {
        const body = await buffer(request);
        const { config, layers } = JSON.parse(body.toString()) as { config: { digest: string }; layers: { digest: string }[] };
        if (![config, ...layers].every(({ digest }) => repository.blobs.has(digest)))
          return end(400, {}, JSON.stringify({ errors: [{ code: 'MANIFEST_BLOB_UNKNOWN' }] }));
        repository.manifests.set(digestOf(body), body);
        repository.tags.set(last, digestOf(body));
        return end(201, { 'docker-content-digest': digestOf(body) });
      }
      const digest = repository.tags.get(last) ?? last;
      const body = repository.manifests.get(digest);
      if (!body) return end(404);
      if (method !== 'DELETE')
        return end(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json', 'docker-content-digest': digest }, body);
      repository.manifests.delete(digest);
      for (const [tag, of] of repository.tags) if (of === digest) repository.tags.delete(tag);
      return end(202);
    }
    if (kind === 'blobs/uploads' && method === 'POST') {
      const mount = searchParams.get('mount') ?? '';
      if (this.mounts && this.repositories.get(searchParams.get('from') ?? '')?.blobs.has(mount)) {
        repository.blobs.add(mount);
        return end(201, { 'docker-content-digest': mount });
      }
      const id = randomUUID();
      this.#uploads.set(id, name);
      return end(202, { location: `/v2/${name}/blobs/uploads/${id}` });
    }
    if (kind === 'blobs/uploads' && method === 'PUT') {
      if (this.#uploads.get(last) !== name) return end(404);
      this.most = Math.max(this.most, ++this.atOnce);
      const content = await buffer(request).finally(() => this.atOnce--);
      const digest = searchParams.get('digest') ?? '';
      if (digestOf(content) !== digest) return end(400, {}, JSON.stringify({ errors: [{ code: 'DIGEST_INVALID' }] }));
      this.#uploads.delete(last);
      this.sent.push(content.length);
      this.content.set(digest, content);
      repository.blobs.add(digest);
      return end(201, { 'docker-content-digest': digest });
    }
    const content = kind === 'blobs' && repository.blobs.has(last) ? this.content.get(last) : undefined;
    return content ? end(200, { 'content-length': String(content.length) }, content) : end(kind === 'blobs/uploads' ? 204 : 404);
  }
}
