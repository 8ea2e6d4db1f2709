/** Of samples in any order. @throws RangeError when there are none */
export function median(samples: number[]): number {
  if (samples.length === 0) throw new RangeError('there is no median of nothing');
  const sorted = [...samples].sort((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2;
}

export interface Summary {
  median: number;
  minimum: number;
  maximum: number;
  samples: number;
}

export function summarize(samples: number[]): Summary {
  return { median: median(samples), minimum: Math.min(...samples), maximum: Math.max(...samples), samples: samples.length };
}
