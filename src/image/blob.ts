import type { Readable } from 'node:stream';
import type { Places } from './places.ts';

/** Content: bytes, or so many zeros. */
export type Span = Buffer | number;

/** What becomes of a stream's chunks before they are content. */
export type Decoder = (batches: AsyncIterable<Buffer[]>) => AsyncIterable<Span[]>;

export interface BlobInfo {
  /** `sha256:…` */
  digest: string;
  /** Bytes. */
  size: number;
}

/** What a blob has to be, by who sent it. */
export interface ExpectedBlob {
  digest: string;
  /** Bytes. */
  size?: number;
  /** CRC-32 as the sender read it; from then on `verify` compares with it. */
  crc32?: number;
  /** Of a patch: the digest of all its places (`Places.digest`). */
  places?: string;
}

export interface AppendOptions {
  signal?: AbortSignal;
  /** Without it, the chunks are the content. */
  decode?: Decoder;
}

/** A blob that is being written. Exactly one of `commit` and `abort` ends it. */
export interface BlobUpload {
  /** Bytes so far. */
  readonly size: number;
  /** `sha256:…` of the bytes so far. */
  readonly digest: string;
  /**
   * Appends a stream, decoded. When the stream fails, what had come of it is kept, and `size` says how much that is; when writing
   * fails, the upload is useless: abort it.
   * @throws ImageError `no-space`, `aborted`; whatever the source failed with
   */
  append(source: Readable, options?: AppendOptions): Promise<void>;
  /** Only of a patch: where what comes after `size` belongs. What was said of that before is forgotten. */
  place?(places: Places): void;
  /**
   * Makes the content a blob of the store, durably: when it resolves, a power cut takes nothing away.
   * @throws ImageError `digest-mismatch`, `no-space`; the upload is gone then
   */
  commit(expected?: ExpectedBlob): Promise<BlobInfo>;
  abort(): Promise<void>;
}
