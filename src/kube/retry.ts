import { codeOf } from '../util/errors.ts';
import type { RawRequest } from './calls.ts';
import { backoff } from './deadline.ts';
import { KubeError, noAnswer } from './errors.ts';

/** Nothing was sent: safe to repeat whatever the call is. */
const neverConnected = new Set(['ECONNREFUSED', 'UND_ERR_CONNECT_TIMEOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);
const lostConnection = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'UND_ERR_SOCKET']);

/** Milliseconds until another try makes sense, or undefined when none does. */
export function waitBeforeRetry(error: unknown, failures: number, options: RawRequest): number | undefined {
  if (!(error instanceof KubeError) || options.retry === false) return undefined;
  const idempotent = options.method === 'GET';
  // A rotated token: once, with what the KubeConfig says now.
  if (error.status === 401) return failures === 1 ? 0 : undefined;
  if (idempotent && (error.status === 429 || error.status === 503) && error.retryAfterSeconds !== undefined) {
    return Math.max(error.retryAfterSeconds * 1000, backoff(failures, 100, 2000));
  }
  if (error.status !== 0) return undefined;
  const code = codeOf(error) ?? '';
  const cutShort = error.reason === noAnswer.badAnswer;
  if (neverConnected.has(code) || (idempotent && (lostConnection.has(code) || cutShort))) return backoff(failures, 100, 2000);
  return undefined;
}
