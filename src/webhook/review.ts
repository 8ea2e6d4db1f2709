import type { Pod } from '../api/pod.ts';

/** admission.k8s.io/v1, the parts in use. */
export interface AdmissionRequest {
  uid: string;
  operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';
  namespace?: string;
  name?: string;
  dryRun?: boolean;
  kind: { group: string; version: string; kind: string };
  subResource?: string;
  userInfo: UserInfo;
  object?: Pod | null;
  oldObject?: Pod | null;
}

export interface UserInfo {
  username?: string;
  uid?: string;
  groups?: string[];
  extra?: Record<string, string[]>;
}

/** What is to be answered; `pod` is the object as it should become. */
export type Verdict =
  | { allow: true; pod?: Pod; warnings?: string[] }
  | { allow: false; code: number; reason: string; message: string; retryAfterSeconds?: number };

export const pass: Verdict = { allow: true };

export function forbid(message: string): Verdict {
  return { allow: false, code: 403, reason: 'Forbidden', message };
}

export function invalid(message: string): Verdict {
  return { allow: false, code: 422, reason: 'Invalid', message };
}

/**
 * 429: not now; clients that know it (kubectl drain, controllers) try again.
 *
 * @param retryAfterSeconds client-go then tries again by itself, and whoever called it never sees the message; left out, as
 *   the API server itself does for evictions, `kubectl drain` shows it and asks again after five seconds
 */
export function later(message: string, retryAfterSeconds?: number): Verdict {
  return { allow: false, code: 429, reason: 'TooManyRequests', message, ...(retryAfterSeconds ? { retryAfterSeconds } : {}) };
}

/** A request as the API server sends it, or why it is none. */
export function parseReview(body: unknown): { request: AdmissionRequest } | { uid: string; problem: string } {
  const review = body as { apiVersion?: unknown; kind?: unknown; request?: Partial<AdmissionRequest> } | null;
  const uid = typeof review?.request?.uid === 'string' ? review.request.uid : '';
  if (typeof review !== 'object' || review === null) return { uid, problem: 'the body is not a JSON object' };
  if (review.kind !== 'AdmissionReview' || review.apiVersion !== 'admission.k8s.io/v1') {
    return { uid, problem: `expected an AdmissionReview of admission.k8s.io/v1, got ${String(review.apiVersion)} ${String(review.kind)}` };
  }
  const { request } = review;
  if (!request || !uid) return { uid, problem: 'the AdmissionReview has no request with a uid' };
  if (request.kind?.kind !== 'Pod' || typeof request.operation !== 'string') return { uid, problem: 'the request is not about a Pod' };
  if (typeof request.userInfo !== 'object' || request.userInfo === null) return { uid, problem: 'the request names no user' };
  if (request.operation !== 'DELETE' && !isPod(request.object)) return { uid, problem: 'the request has no object that is a Pod' };
  return { request: request as AdmissionRequest };
}

function isPod(object: unknown): boolean {
  const pod = object as { metadata?: unknown; spec?: { containers?: unknown } } | null | undefined;
  return typeof pod?.metadata === 'object' && pod.metadata !== null && Array.isArray(pod.spec?.containers);
}
