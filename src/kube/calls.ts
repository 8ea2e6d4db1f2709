import type { Dispatcher } from 'undici';
import type { CallOptions, Selection } from './types.ts';

export interface KubeClientOptions {
  /** As the API server's audit log shows it. */
  userAgent?: string;
  /** Default of `CallOptions.deadline`. Milliseconds. */
  deadline?: number;
}

export interface WriteOptions extends CallOptions {
  /** Admission and validation run, nothing is stored. */
  dryRun?: boolean | undefined;
  /** Who is recorded in managedFields. */
  fieldManager?: string | undefined;
}

export interface SubresourceOptions {
  /** e.g. `status` */
  subresource?: string | undefined;
}

export interface ListOptions extends CallOptions, Selection {
  /** Objects a page; the deadline is for each page. Default 500, as kubectl and client-go. */
  limit?: number | undefined;
}

export interface ListResult<T> {
  items: T[];
  /** Where a watch goes on. */
  resourceVersion: string;
}

export type Patch =
  /** RFC 6902 */
  | { type: 'json'; body: object[] }
  /** RFC 7386: null removes a field, lists are replaced */
  | { type: 'merge'; body: object }
  /** Kubernetes' own merge, which knows the keys of lists; built-in kinds only */
  | { type: 'strategic'; body: object }
  /** Server-side apply; needs `fieldManager`, `force` takes fields from other managers */
  | { type: 'apply'; body: object; force?: boolean };

export interface Preconditions {
  uid?: string | undefined;
  resourceVersion?: string | undefined;
}

export interface DeleteOptions extends CallOptions {
  dryRun?: boolean | undefined;
  /** 409 when the object is another one by now. */
  preconditions?: Preconditions | undefined;
  gracePeriodSeconds?: number | undefined;
  propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
}

export interface RawRequest extends CallOptions {
  method: Dispatcher.HttpMethod;
  /** Path below the server's address, with a leading slash. */
  path: string;
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
  contentType?: string;
  /** GET only: repeated after a lost connection. Default true. */
  retry?: boolean;
}
