/** Size of a page of memory, as CRIU writes it. Bytes. */
export const pageBytes = 4096;

const zeroPage = Buffer.alloc(pageBytes);

/** So many bytes of content, then so many zeros. */
export interface Run {
  literal: number;
  zeros: number;
}

/**
 * Takes the pages of zeros out of a part of a buffer: what is left is moved together at its beginning. Pages are counted
 * from the beginning of the file; what is there of one that the part cuts is looked at by itself.
 *
 * @param position where in the file the part begins
 * @param runs added to; the last one may be continued
 * @returns how many bytes are left
 */
export function squeezeZeroPages(buffer: Buffer, position: number, runs: Run[]): number {
  let kept = 0;
  // Pages are moved as many together as follow each other; where there are no zeros, not at all.
  let from = 0;
  const keep = (to: number) => {
    if (to === from) return;
    if (kept !== from) buffer.copyWithin(kept, from, to);
    kept += to - from;
    const last = runs.at(-1);
    if (last?.zeros === 0) last.literal += to - from;
    else runs.push({ literal: to - from, zeros: 0 });
  };
  for (let at = 0; at < buffer.length; ) {
    const next = Math.min(nextPage(position, at), buffer.length);
    if (isZero(buffer, at, next)) {
      keep(at);
      const last = runs.at(-1);
      if (last) last.zeros += next - at;
      else runs.push({ literal: 0, zeros: next - at });
      from = next;
    }
    at = next;
  }
  keep(buffer.length);
  return kept;
}

const nextPage = (position: number, at: number) => at + pageBytes - ((position + at) % pageBytes);

/** The first byte tells of nearly all others, and a call into C++ costs more than to look at it. */
function isZero(buffer: Buffer, from: number, to: number): boolean {
  return buffer[from] === 0 && buffer.compare(zeroPage, 0, to - from, from, to) === 0;
}
