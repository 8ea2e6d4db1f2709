import type { LoadOptions } from './load.ts';
import type { Bounds } from './report.ts';

export type Size = Omit<LoadOptions, 'say'> & { bounds: Bounds };

/** What `make load` runs. */
export const full: Size = {
  pods: 1000,
  nodes: 50,
  namespaces: 10,
  limits: { perSource: 2, perDestination: 4, cluster: 40 },
  connections: 64,
  // What kubectl drain waits (kubectl pkg/drain, evictPods).
  askAgain: 5000,
  killAt: 0.4,
  patience: 2_700_000,
  bounds: { evictionP99: 5000, late: 0, requestsPerPod: 125, memory: 384, lists: 40 },
};

/** What `make test` runs, also on a machine that does much else. */
export const small: Size = {
  pods: 100,
  nodes: 10,
  namespaces: 2,
  limits: { perSource: 2, perDestination: 4, cluster: 16 },
  connections: 64,
  // What kubectl drain waits (kubectl pkg/drain, evictPods).
  askAgain: 5000,
  killAt: 0.4,
  patience: 400_000,
  bounds: { evictionP99: 10_000, late: 0.01, requestsPerPod: 150, memory: 384, lists: 40 },
};

export function optionsOf({ bounds: _bounds, ...options }: Size, say: (text: string) => void): LoadOptions {
  return { ...options, say };
}
