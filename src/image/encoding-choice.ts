/** What pages are compressed with on their way. */
export type Compression = 'zstd' | 'gzip';
export type Encoding = 'none' | Compression;

/** How compressing goes, of a sample of the content. */
export interface Sample {
  /** Size before by size after. */
  ratio: number;
  /** Bytes of content per second. */
  speed: number;
}

export interface Conditions {
  /** What the other end decodes. */
  accepts: readonly Compression[];
  /** Undefined: nothing has been compressed yet. */
  sample: Sample | undefined;
  /** What the link has carried, as far as that is known. Bytes per second. */
  link: number | undefined;
  /** What it may carry; undefined: no limit. Bytes per second. */
  limit: number | undefined;
}

/** By how much compressing has to be faster than sending, because it takes the node's processors too. */
const gain = 1.2;

/** The compression to be used if any: gzip is slower by far. Undefined: the other end knows none. */
export function compressionFor(accepts: readonly Compression[]): Compression | undefined {
  return (['zstd', 'gzip'] as const).find((compression) => accepts.includes(compression));
}

/**
 * Whether content gets to the other end faster when it is compressed. It is reckoned as if compressing and sending took
 * turns: on a link fast enough for that to matter, they compete for the processors.
 */
export function chooseEncoding({ accepts, sample, link, limit }: Conditions): Encoding {
  const compression = compressionFor(accepts);
  const rate = Math.min(link ?? Number.POSITIVE_INFINITY, limit ?? Number.POSITIVE_INFINITY);
  if (!compression || !sample || rate === Number.POSITIVE_INFINITY) return 'none';
  const compressed = 1 / (1 / sample.speed + 1 / (rate * sample.ratio));
  return compressed > rate * gain ? compression : 'none';
}
