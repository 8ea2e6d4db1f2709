import { createHash } from 'node:crypto';

/** `sha256:…` of a buffer. */
export function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}
