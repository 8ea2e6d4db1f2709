import { ImageError } from './errors.ts';

/**
 * An image reference: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` (grammar of github.com/distribution/reference, which
 * containerd and Docker use).
 */
export interface ImageReference {
  /** Host and port; undefined when the reference names none. */
  registry?: string;
  repository: string;
  tag?: string;
  /** `sha256:` and 64 hexadecimal digits; sha512 too. */
  digest?: string;
}

const pathComponent = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const label = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const registryPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]{1,5})?$`);
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const digestPattern = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

export function isDigest(value: string): boolean {
  return digestPattern.test(value);
}

export function isTag(value: string): boolean {
  return tagPattern.test(value);
}

/** Whether this is a repository's name as the distribution specification allows it (at most 255 characters). */
export function isRepository(value: string): boolean {
  return value.length <= 255 && value.split('/').every((component) => pathComponent.test(component));
}

/**
 * Parses a reference as it is written, without defaults. The first component is a registry when it has a dot, a colon
 * or an upper-case letter, or is `localhost` (the rule of Docker and containerd).
 * @throws ImageError `protocol`
 */
export function parseReference(text: string): ImageReference {
  const fail = (what: string) => new ImageError('protocol', `image reference ${JSON.stringify(text)}: ${what}`);
  if (text === '') throw fail('it is empty');
  let rest = text;
  const reference: { registry?: string; tag?: string; digest?: string } = {};
  const at = rest.indexOf('@');
  if (at !== -1) {
    reference.digest = rest.slice(at + 1);
    rest = rest.slice(0, at);
    if (!isDigest(reference.digest)) throw fail(`${JSON.stringify(reference.digest)} is not a digest (sha256:… with 64 digits)`);
  }
  const colon = rest.lastIndexOf(':');
  if (colon > rest.lastIndexOf('/')) {
    reference.tag = rest.slice(colon + 1);
    rest = rest.slice(0, colon);
    if (!isTag(reference.tag)) throw fail(`${JSON.stringify(reference.tag)} is not a tag (letters, digits, "_", ".", "-", at most 128)`);
  }
  const slash = rest.indexOf('/');
  const first = rest.slice(0, slash);
  if (slash !== -1 && (/[.:A-Z]/.test(first) || first === 'localhost')) {
    reference.registry = first;
    rest = rest.slice(slash + 1);
    if (!registryPattern.test(first)) throw fail(`${JSON.stringify(first)} is not a registry (HOST or HOST:PORT)`);
  }
  if (!isRepository(rest)) {
    const hint = /[A-Z]/.test(rest) ? '; repositories are lower-case' : '';
    throw fail(`${JSON.stringify(rest)} is not a repository name${hint}`);
  }
  return { ...reference, repository: rest };
}

/** The reference as text; `parseReference` reads it back the same. */
export function formatReference(reference: ImageReference): string {
  const registry = reference.registry === undefined ? '' : `${reference.registry}/`;
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${registry}${reference.repository}${tag}${digest}`;
}

/**
 * What Docker and containerd take a short reference to mean: registry `docker.io`, `library/` before a single name
 * there, tag `latest` when there is neither tag nor digest.
 */
export function normalize(reference: ImageReference): ImageReference & { registry: string } {
  const named = reference.registry ?? 'docker.io';
  const registry = named === 'index.docker.io' ? 'docker.io' : named;
  const short = registry === 'docker.io' && !reference.repository.includes('/');
  return {
    ...reference,
    registry,
    repository: short ? `library/${reference.repository}` : reference.repository,
    ...(reference.tag === undefined && reference.digest === undefined && { tag: 'latest' }),
  };
}

/** The host that answers for a registry's name: Docker Hub's API is not at `docker.io`. */
export function registryHost(registry: string): string {
  return registry === 'docker.io' || registry === 'index.docker.io' ? 'registry-1.docker.io' : registry;
}
