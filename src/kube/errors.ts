/** metav1.Status, the body of every refusal. */
export interface Status {
  kind?: 'Status';
  status?: string;
  message?: string;
  reason?: string;
  code?: number;
  details?: { retryAfterSeconds?: number; causes?: { reason?: string; message?: string; field?: string }[]; [field: string]: unknown };
}

/** Reasons of calls that got no answer; all others are the API server's own (metav1.StatusReason). */
export const noAnswer = { connectionFailed: 'ConnectionFailed', deadlineExceeded: 'DeadlineExceeded', badAnswer: 'BadAnswer' } as const;

/** A call to the API server that failed. The message says which call, on which server, and what it answered. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  /** HTTP status; 0 when there was no (whole) answer. */
  readonly status: number;
  /** metav1.StatusReason, e.g. `NotFound`, or one of `noAnswer`. */
  readonly reason: string;
  /** What the API server asks to wait before another try, if it said so. Seconds. */
  readonly retryAfterSeconds: number | undefined;
  readonly details: Status['details'];

  constructor(
    call: string,
    answer: { status: number; reason: string; message: string; retryAfterSeconds?: number | undefined; details?: Status['details'] },
    options?: ErrorOptions,
  ) {
    super(`${call}: ${answer.status ? `${answer.status} ` : ''}${answer.reason}: ${answer.message}`, options);
    this.status = answer.status;
    this.reason = answer.reason;
    this.retryAfterSeconds = answer.retryAfterSeconds;
    this.details = answer.details;
  }

  get isNotFound(): boolean {
    return this.status === 404;
  }

  /** The object changed since it was read (resourceVersion), or a precondition does not hold. Not: it exists already. */
  get isConflict(): boolean {
    return this.status === 409 && this.reason !== 'AlreadyExists';
  }

  get isAlreadyExists(): boolean {
    return this.status === 409 && this.reason === 'AlreadyExists';
  }

  /** Refused for now: overload, or, for an eviction, a disruption budget. */
  get isTooManyRequests(): boolean {
    return this.status === 429;
  }

  /** The version asked for is no longer kept: list again. A watch says it with 410, sometimes inside of the stream. */
  get isGone(): boolean {
    return this.status === 410 || this.reason === 'Expired';
  }

  get isForbidden(): boolean {
    return this.status === 403;
  }

  /** Nobody answered; whether the call was carried out is unknown. */
  get isUnreachable(): boolean {
    return this.status === 0;
  }
}

/** The error of an answer that is no success. */
export function refusal(call: string, status: number, body: string, retryAfterHeader: string | string[] | undefined): KubeError {
  let parsed: Status | undefined;
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === 'object' && value !== null && (value as Status).kind === 'Status') parsed = value as Status;
  } catch {
    // Proxies in front of the API server, and the API server itself while it starts, answer with plain text.
  }
  const header = Number(Array.isArray(retryAfterHeader) ? retryAfterHeader[0] : retryAfterHeader);
  return new KubeError(call, {
    status,
    reason: parsed?.reason || reasonOfStatus(status),
    message: parsed?.message || body.trim().slice(0, 500) || 'no text in the answer',
    retryAfterSeconds: parsed?.details?.retryAfterSeconds ?? (header >= 0 ? header : undefined),
    details: parsed?.details,
  });
}

function reasonOfStatus(status: number): string {
  const known: Record<number, string> = {
    400: 'BadRequest',
    401: 'Unauthorized',
    403: 'Forbidden',
    404: 'NotFound',
    409: 'Conflict',
    410: 'Expired',
    422: 'Invalid',
    429: 'TooManyRequests',
    500: 'InternalError',
    503: 'ServiceUnavailable',
    504: 'Timeout',
  };
  return known[status] ?? 'Unknown';
}
