import { isAbort, isNoSpace, messageOf } from '../util/errors.ts';
import { ArchiveError } from './errors.ts';

/**
 * The content of a volume (an emptyDir) on its way between nodes: a pax tar that both ends of podferry write and read,
 * and any tar can read. Kept: modes, uid and gid, symlinks, hard links, FIFOs, empty directories, holes of sparse files
 * (in 4 KiB blocks), names in any bytes, extended attributes with POSIX ACLs and file capabilities (where the image has
 * getfattr and setfattr, see xattrs.ts); mtimes to the nanosecond in the tar, to about 0.2 µs on disk (Node.js sets times
 * as a double).
 *
 * Not kept: access times, sockets (the process that listened makes them anew), device nodes, and other file systems
 * mounted inside.
 */
export interface VolumeSummary {
  /** `sha256:…` of the tar stream: equal at both ends when all arrived. */
  digest: string;
  /** Size of the tar stream in bytes. */
  bytes: number;
  /** Entries written, the root directory included. */
  entries: number;
  /** What was left out, and why; the first 100 and the count of all. */
  skipped: { path: string; reason: string }[];
  skippedCount: number;
}

/** The pax record of a file that had holes at its source. */
export const sparseRecord = 'PODFERRY.sparse';

/** Collects what was left out. */
export class Skipped {
  readonly skipped: { path: string; reason: string }[] = [];
  skippedCount = 0;

  add(path: string, reason: string): void {
    this.skippedCount++;
    if (this.skipped.length < 100) this.skipped.push({ path, reason });
  }
}

/** Whatever broke packing or unpacking, as an ArchiveError that names the directory. */
export function volumeError(doing: string, directory: string, error: unknown): ArchiveError {
  if (error instanceof ArchiveError) return error;
  const code = isAbort(error) ? 'aborted' : isNoSpace(error) ? 'no-space' : 'io';
  return new ArchiveError(code, `${doing} volume ${directory}: ${messageOf(error)}`, { cause: error });
}
