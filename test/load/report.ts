import type { Migration } from '../../src/api/migration.ts';
import type { Requests } from './audit.ts';
import type { DrainOutcome } from './drain.ts';
import type { Seen } from './limits.ts';
import type { Killed, LoadOptions } from './load.ts';
import type { Samples } from './objects-memory.ts';
import type { Footprint } from './processes.ts';
import type { Metrics } from './scrape.ts';

export interface Report {
  pods: number;
  nodes: number;
  limits: LoadOptions['limits'];
  connections: number;
  /** Milliseconds. */
  askAgain: number;
  evictions: { answered: number; p50: number; p99: number; max: number; late: number; again: number; answers: Record<string, number> };
  /** Until every pod was gone from its node. Seconds. */
  drained: number;
  /** Of Migrations that succeeded, from when they began; and how long they stood still. Milliseconds. */
  migration: { median: number; p99: number; downtimeMedian: number };
  migrations: number;
  killed: Killed | undefined;
  seen: Seen;
  footprints: Record<string, Footprint>;
  /** For a pod moved: all, and by who, verb and what. */
  requestsPerPod: number;
  requests: Record<string, number>;
  requestErrors: Record<string, number>;
  lists: Record<string, number>;
  /** Of podferry, a second, over the whole storm. */
  requestRate: number;
  metrics: Metrics;
  left: string[];
  /** Of Kubernetes. */
  version: string;
  samples: Samples;
}

interface Gathered {
  options: LoadOptions;
  outcome: DrainOutcome;
  killed: Killed | undefined;
  seen: Seen;
  requests: Requests;
  metrics: Metrics;
  left: string[];
  version: string;
  samples: Samples;
  migrations: Migration[];
  footprints: Record<string, Footprint>;
  storm: number;
}

export function summary(gathered: Gathered): Report {
  const { options, outcome, killed, seen, requests, metrics, left, version, samples, migrations, footprints, storm } = gathered;
  const { pods, nodes, limits, connections, askAgain } = options;
  const { latencies, late, again, answers, took } = outcome;
  const moved = migrations.filter(({ status }) => status?.phase === 'Succeeded');
  const times = moved.map(({ status }) => Date.parse(status?.steps?.finished ?? '') - Date.parse(status?.steps?.accepted ?? ''));
  const downtimes = moved.flatMap(({ status }) => status?.downtimeMilliseconds ?? []);
  const all = Object.values(requests.counts).reduce((sum, count) => sum + count, 0);
  const lists: Record<string, number> = {};
  for (const { what } of requests.lists) lists[what] = (lists[what] ?? 0) + 1;
  return {
    pods,
    nodes,
    limits,
    connections,
    askAgain,
    evictions: {
      answered: latencies.length,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
      max: quantile(latencies, 1),
      late,
      again,
      answers,
    },
    drained: Math.round(took / 1000),
    migration: { median: quantile(times, 0.5), p99: quantile(times, 0.99), downtimeMedian: quantile(downtimes, 0.5) },
    migrations: migrations.length,
    killed,
    seen,
    footprints,
    requestsPerPod: Math.round((all / pods) * 10) / 10,
    requests: Object.fromEntries(Object.entries(requests.counts).sort((left, right) => right[1] - left[1])),
    requestErrors: requests.errors,
    lists,
    requestRate: Math.round(all / (storm / 1000)),
    metrics,
    left,
    version,
    samples,
  };
}

function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
}

/** What a run has to keep to. */
export interface Bounds {
  /** Milliseconds. */
  evictionP99: number;
  /** Share of evictions that may be answered after the deadline of 10 s. */
  late: number;
  /** Of podferry, for a pod moved, what evictions that ask again cost not counted. */
  requestsPerPod: number;
  /** Anonymous memory of a process. MiB. */
  memory: number;
  /** By a process: what it follows of the cluster, and certificates. */
  lists: number;
}

/** What a report says against. */
export function problemsOf(report: Report, bounds: Bounds): string[] {
  const { evictions, seen, killed, lists, footprints, pods, left } = report;
  const problems = [...left, ...seen.exceeded.slice(0, 5)];
  if (evictions.late > bounds.late * evictions.answered) problems.push(`${evictions.late} evictions were answered after more than 10 s`);
  if (evictions.p99 > bounds.evictionP99)
    problems.push(`the p99 of evictions' answers is ${evictions.p99} ms, more than ${bounds.evictionP99} ms`);
  const odd = Object.keys(evictions.answers).filter((answer) => !['evicted', 'wait', 'gone'].includes(answer));
  for (const answer of odd) problems.push(`${evictions.answers[answer]} evictions were answered with ${answer}`);
  if (seen.succeeded !== pods) problems.push(`${seen.succeeded} migrations succeeded for ${pods} pods`);
  if (seen.highestPosition > pods) problems.push(`queue position ${seen.highestPosition} was shown with ${pods} pods`);
  if (seen.overtaken) problems.push(`${seen.overtaken} migrations waited while later ones of their node had begun`);
  if (!killed) problems.push('the leading controller was not killed');
  const perPod = workOf(report) / pods;
  if (perPod > bounds.requestsPerPod)
    problems.push(`${Math.round(perPod)} requests of podferry for a pod moved, more than ${bounds.requestsPerPod}`);
  const listed = Object.values(lists).reduce((sum, count) => sum + count, 0);
  if (listed > bounds.lists) problems.push(`podferry listed ${listed} times (${JSON.stringify(lists)}), more than ${bounds.lists}`);
  for (const [name, { peak }] of Object.entries(footprints)) {
    if (name !== 'kube-apiserver' && peak > bounds.memory) problems.push(`${name} had ${peak} MiB, more than ${bounds.memory} MiB`);
  }
  return problems;
}

/** podferry's requests but for the pod that the webhook reads at each eviction: how often those are asked is not podferry's doing. */
export function workOf({ requests, evictions }: Report): number {
  return Object.values(requests).reduce((sum, count) => sum + count, 0) - Math.min(requests['webhook get pods'] ?? 0, evictions.answered);
}
