/**
 * - `truncated` the stream ended before the tar did
 * - `malformed` not a tar, a damaged header, or an entry that contradicts the format
 * - `no-config` no `config.dump`: not a checkpoint archive · `bad-config` it is no JSON object
 * - `not-criu` a CRIU image does not start with its magic number
 * - `incomplete` files are missing without which no restore works
 * - `wrong-container` it is the checkpoint of another container
 * - `changed` it is not what was read the first time: the disk damaged it, or somebody did
 * - `unsafe-entry` an entry would be written outside its directory
 * - `no-space` the disk is full · `io` reading or writing failed · `aborted` stopped by the caller
 */
export type ArchiveErrorCode =
  | 'truncated'
  | 'malformed'
  | 'no-config'
  | 'bad-config'
  | 'not-criu'
  | 'incomplete'
  | 'wrong-container'
  | 'changed'
  | 'unsafe-entry'
  | 'no-space'
  | 'io'
  | 'aborted';

/** Something is wrong with an archive, or with reading or writing it. */
export class ArchiveError extends Error {
  readonly code: ArchiveErrorCode;

  constructor(code: ArchiveErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ArchiveError';
    this.code = code;
  }
}
