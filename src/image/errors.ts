import { isAbort, isNoSpace, messageOf } from '../util/errors.ts';

/**
 * - `unauthorized` no or wrong credentials (401) · `denied` the credentials may not do this (403)
 * - `not-found` no such repository, manifest, blob or upload (404)
 * - `unreachable` no connection, a connection that broke, no answer in time, or a registry in trouble (429, 5xx)
 * - `tls` the certificate of either side was not accepted
 * - `digest-mismatch` the content is another than its digest says
 * - `no-space` the disk or the registry is full (ENOSPC, 507) · `too-large` the registry takes nothing that big (413)
 * - `aborted` stopped by the caller · `protocol` an answer or input that the OCI distribution specification does not know
 */
export type ImageErrorCode =
  | 'unauthorized'
  | 'denied'
  | 'not-found'
  | 'unreachable'
  | 'tls'
  | 'digest-mismatch'
  | 'no-space'
  | 'too-large'
  | 'aborted'
  | 'protocol';

/** Something failed with a registry, an image or the blob store. */
export class ImageError extends Error {
  readonly code: ImageErrorCode;
  /** HTTP status of the registry's answer, if there was one. */
  readonly status: number | undefined;

  constructor(code: ImageErrorCode, message: string, options: { cause?: unknown; status?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ImageError';
    this.code = code;
    this.status = options.status;
  }
}

/** A failure of the local disk or a stream, as an ImageError. Errors that say more already are left as they are. */
export function localError(doing: string, error: unknown): unknown {
  if (error instanceof ImageError) return error;
  if (isNoSpace(error)) return new ImageError('no-space', `${doing}: no space left on the disk`, { cause: error });
  if (isAbort(error)) return new ImageError('aborted', `${doing}: stopped: ${messageOf(error)}`, { cause: error });
  return error;
}
