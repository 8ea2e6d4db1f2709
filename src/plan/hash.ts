/** Letters that Kubernetes uses for generated names (apimachinery util/rand): no vowels, nothing that looks alike. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** A short name suffix that always is the same for the same text (FNV-1a, 64 bits). Not for secrets. */
export function shortHash(text: string, length = 5): string {
  let hash = 0xcbf29ce484222325n;
  for (let index = 0; index < text.length; index++) {
    hash ^= BigInt(text.charCodeAt(index));
    hash = BigInt.asUintN(64, hash * 0x100000001b3n);
  }
  // FNV's low bits are weak for short texts; folding the high half in spreads names of neighbouring inputs.
  hash ^= hash >> 29n;
  let suffix = '';
  const base = BigInt(alphabet.length);
  for (let position = 0; position < length; position++) {
    suffix += alphabet[Number(hash % base)];
    hash /= base;
  }
  return suffix;
}

/** `name` (of a pod or a Migration) cut so that with the suffix it still is a valid name, of at most `limit` characters. */
export function withSuffix(name: string, suffix: string, limit = 63): string {
  const room = limit - suffix.length - 1;
  return `${name.slice(0, room).replace(/[^a-z0-9]+$/, '')}-${suffix}`;
}
