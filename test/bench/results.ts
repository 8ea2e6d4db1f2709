import type { Cell } from './cells.ts';

/** One kind of file, `/var/cache/podferry/bench/*.json`: everything that was measured in a run, nothing averaged. */

/** The documented way; podferry without sending memory ahead; podferry as it decides by itself. */
export const ways = ['documented', 'cold', 'podferry'] as const;
export type Way = (typeof ways)[number];

/** Where figures are taken: source and destination are nodes, the registry lives with the control plane. */
export const places = ['source', 'destination', 'control'] as const;
export type Place = (typeof places)[number];

/** Consecutive parts of a time. Milliseconds. */
export interface Part {
  name: string;
  milliseconds: number;
}

export interface Usage {
  /** Sent over the nodes' network, each byte counted once. */
  wireBytes: number;
  /** Pages of files that processes made dirty (`write_bytes` of /proc/PID/io); the page cache may never have written all of them. */
  writtenBytes: Record<Place, number>;
  /** Of everything that ran there, the pod too. */
  cpuSeconds: Record<Place, number>;
  /** Peak of the resident memory of podferry's agents, and what of it were the program's files, which all of its processes share. */
  agentPeakBytes: { source: number; destination: number };
  agentFileBytes: { source: number; destination: number };
}

export interface Trial extends Cell, Usage {
  way: Way;
  repetition: number;
  /** When it was begun, RFC 3339. */
  at: string;
  /** From the last answer of the source to the first of the target, as the client saw it. Milliseconds. */
  downtime: number;
  /** The longest that the source was silent before that. Milliseconds; not in the results of older runs. */
  silence?: number;
  /** From the request until the target was Ready, or the Migration had succeeded. Milliseconds. */
  total: number;
  /** What the downtime consists of. */
  parts: Part[];
  /** What the last of those parts, the start of the target, consists of for the runtime. */
  startParts: Part[];
}

/** What no way of moving can do without, one sample each. Milliseconds. */
export interface Floor {
  mebibytes: number;
  repetition: number;
  /** CRIU writes the memory of a paused task to the disk. */
  dump: number;
  /** runc and CRIU restore it from there. */
  restore: number;
  /** A pod that holds nothing, its image present: from its creation until it answers. */
  plainPod: number;
}

export interface Failure extends Cell {
  way: Way | 'floor';
  repetition: number;
  message: string;
}

export interface Results {
  /** Where these are of several runs. */
  runs?: Pick<Results, 'begun' | 'ended' | 'commit'>[];
  begun: string;
  ended: string;
  commit: string;
  machine: { processors: number; memoryMebibytes: number; kernel: string; kubernetes: string; containerd: string; loadAverage: number[] };
  trials: Trial[];
  floors: Floor[];
  failures: Failure[];
  /** What was left out, and why. */
  skipped: string[];
}

/** Those of several runs, each of whole kinds of pods: a full run takes longer than a machine may be quiet. */
export function joined([first, ...rest]: [Results, ...Results[]]): Results {
  const all = [first, ...rest];
  return {
    ...first,
    runs: all.map(({ begun, ended, commit }) => ({ begun, ended, commit })),
    ended: rest.at(-1)?.ended ?? first.ended,
    machine: {
      ...first.machine,
      loadAverage: [first, rest.at(-1) ?? first].map(({ machine }, index) => machine.loadAverage[index] ?? Number.NaN),
    },
    trials: all.flatMap(({ trials }) => trials),
    floors: all.flatMap(({ floors }) => floors),
    failures: all.flatMap(({ failures }) => failures),
    skipped: all.flatMap(({ skipped }) => skipped),
  };
}
