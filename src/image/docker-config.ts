import { ImageError } from './errors.ts';

export interface Credentials {
  username: string;
  password: string;
}

/** A key of `auths`, without scheme and Docker Hub's `/v1/`: host, port and path prefix. */
function keyParts(key: string): { host: string; port: string; path: string } {
  const bare = key.replace(/^https?:\/\//, '').replace(/\/v[12]\/?$/, '');
  const slash = bare.indexOf('/');
  const authority = slash === -1 ? bare : bare.slice(0, slash);
  const colon = authority.lastIndexOf(':');
  const hasPort = colon > authority.lastIndexOf(']');
  const host = (hasPort && colon !== -1 ? authority.slice(0, colon) : authority).toLowerCase();
  return {
    host: host === 'index.docker.io' || host === 'registry-1.docker.io' ? 'docker.io' : host,
    port: hasPort && colon !== -1 ? authority.slice(colon + 1) : '',
    path: slash === -1 ? '' : bare.slice(slash + 1).replace(/\/+$/, ''),
  };
}

/** Host names match label by label; `*` stands for any characters within one (the kubelet's rule, k8s.io/kubernetes/pkg/credentialprovider/keyring.go). */
function hostMatches(pattern: string, host: string): boolean {
  const wanted = pattern.split('.');
  const labels = host.split('.');
  return (
    wanted.length === labels.length &&
    wanted.every((part, i) => {
      const expression = part.split('*').map((text) => text.replace(/[^a-z0-9-]/g, '\\$&'));
      return new RegExp(`^${expression.join('[^.]*')}$`).test(labels[i] as string);
    })
  );
}

function credentialsOf(entry: unknown): Credentials | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined;
  const { auth, username, password } = entry as Record<string, unknown>;
  if (typeof auth === 'string' && auth !== '') {
    const decoded = Buffer.from(auth, 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon > 0) return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1).replace(/\0+$/, '') };
  }
  return typeof username === 'string' && username !== '' && typeof password === 'string' ? { username, password } : undefined;
}

/**
 * The credentials for a registry (and, if given, a repository in it) from a `.dockerconfigjson` document, the content of
 * a Kubernetes pull secret. Keys match as for the kubelet: `*` within a label of the host, equal ports, a path that is a
 * prefix; the longest path wins, then the key with the fewest `*`. Undefined when no key matches.
 * @throws ImageError `protocol` when it is not such a document; the message holds nothing of its content
 */
export function credentialsFor(document: string, registry: string, repository?: string): Credentials | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(document);
  } catch {
    // The parser's message quotes the text, and the text is a secret.
    throw new ImageError('protocol', 'the pull secret is not valid JSON (expected the content of .dockerconfigjson)');
  }
  const auths = (parsed as { auths?: unknown } | null)?.auths;
  if (typeof auths !== 'object' || auths === null) {
    throw new ImageError('protocol', 'the pull secret has no "auths" (expected the content of .dockerconfigjson)');
  }
  const wanted = keyParts(registry);
  let best: { credentials: Credentials; rank: number } | undefined;
  for (const [key, entry] of Object.entries(auths)) {
    const { host, port, path } = keyParts(key);
    const pathMatches = path === '' || repository === path || repository?.startsWith(`${path}/`) === true;
    if (port !== wanted.port || !pathMatches || !hostMatches(host, wanted.host)) continue;
    const credentials = credentialsOf(entry);
    const rank = path.length * 100 - host.split('*').length;
    if (credentials !== undefined && (best === undefined || rank > best.rank)) best = { credentials, rank };
  }
  return best?.credentials;
}
