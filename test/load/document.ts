import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import type { ObjectMemory } from './objects-memory.ts';
import { outlook } from './outlook.ts';
import type { Reckoned } from './reckoning.ts';
import { type Report, workOf } from './report.ts';

export interface Measured {
  report: Report;
  objects: ObjectMemory;
  reckoned: Reckoned[];
  /** Of the whole run, what came before the storm included. Seconds. */
  took: number;
  /** Mean number of programs that wanted a CPU, before and after. */
  loadAverage: [number, number];
  version: string;
  date: string;
  /** What exceeded a bound. */
  problems: string[];
}

/** docs/scale.md: the figures of a run, and what follows from them. */
export async function writeDocument(path: string, measured: Measured): Promise<void> {
  const lines = [...figures(measured), '', ...outlook(measured)];
  await writeFile(path, `${lines.join('\n')}\n`);
}

function figures({ report, objects, reckoned, took, loadAverage, version, date, problems }: Measured): string[] {
  const { evictions, seen, killed, footprints, limits, metrics } = report;
  const processes = Object.entries(footprints);
  const others = Object.entries(evictions.answers).map(([answer, count]) => `${number(count)} ${answer}`);
  return [
    '# Scale',
    '',
    `Written by \`make load\` from a run on ${date} (Kubernetes ${version}, ${cpus().length} cores for everything, load average ${loadAverage[0].toFixed(0)} to ${loadAverage[1].toFixed(0)}`,
    'with what else that machine did); the text comes from `test/load`. What is real in it and what is not: [test/load](../test/load/README.md).',
    '',
    `${number(report.pods)} covered pods on ${report.nodes} nodes, half of them of ReplicaSets, evicted at once; ${report.nodes} other nodes take them. Limits: ${limits.perSource} at once from a`,
    `node, ${limits.perDestination} to a node, ${limits.cluster} in the cluster. ${killed ? `The leading controller was killed (kill -9) with ${killed.running} migrations under way.` : ''}`,
    `The run took ${minutes(took)}. ${problems.length ? `**Not as it should be: ${problems.join('; ')}.**` : 'All bounds held.'}`,
    '',
    '## Evictions and moves',
    '',
    ...table(
      ['what', 'figure'],
      [
        [
          'evictions answered',
          `${number(evictions.answered)} (${others.join(', ')}), ${report.connections} at once, each pod again after ${report.askAgain / 1000} s${report.askAgain === 5000 ? '' : ' (kubectl drain: 5 s)'}`,
        ],
        [
          'time of an answer',
          `p50 ${number(evictions.p50)} ms, p99 ${number(evictions.p99)} ms, longest ${number(evictions.max)} ms; ${evictions.late} after the deadline of 10 s`,
        ],
        [
          'all pods elsewhere',
          `after ${minutes(report.drained)}; drained once more: ${evictions.again} that had come back to their node under another name`,
        ],
        [
          'one move',
          `median ${seconds(report.migration.median)}, p99 ${seconds(report.migration.p99)}; stood still for ${seconds(report.migration.downtimeMedian)} (median)`,
        ],
        [
          'Migrations',
          `${number(report.migrations)}: ${number(seen.succeeded)} succeeded; failed and tried again: ${failures(seen.failed)}`,
        ],
        [
          'most at once',
          `${seen.most.perSource} from a node, ${seen.most.perDestination} to a node, ${seen.most.cluster} in the cluster; above a limit: ${seen.exceeded.length} times, looked at with every one of ${number(seen.events)} changes`,
        ],
        ['queue', `positions up to ${number(seen.highestPosition)} were shown; began before an older one of their node: ${seen.overtaken}`],
        ...(killed ? [['the other replica led', `${seconds(killed.takeover)} after the kill`]] : []),
      ],
    ),
    '',
    '## Memory and CPU time',
    '',
    'Anonymous memory (what a process has allocated itself), MiB.',
    '',
    ...table(
      ['process', 'before', 'peak', 'after', 'resident at most', 'CPU time'],
      processes.map(([name, { start, peak, end, peakResident, cpu }]) => [
        name,
        `${start}`,
        `${peak}`,
        `${end}`,
        `${peakResident}`,
        `${number(cpu)} s`,
      ]),
    ),
    '',
    `In the controller's caches a Migration takes ${number(objects.migration)} bytes, a pod ${number(objects.pod)}, a node ${number(objects.node)}. As JSON on the wire a Migration has ${number(seen.eventBytes)} bytes on`,
    `average, and changes ${number(Math.round(seen.events / report.migrations))} times until it is done.`,
    '',
    '## Requests to the API server',
    '',
    `${number(Math.round(workOf(report) / report.pods))} requests of podferry for a pod moved, and one for each eviction that is answered (the pod, read by the webhook). ${number(report.requestRate)} a second over the whole run.`,
    '',
    ...table(
      ['who, what', 'in all', 'for a pod'],
      Object.entries(report.requests)
        .filter(([, count]) => count >= report.pods / 100)
        .map(([what, count]) => [what, number(count), (count / report.pods).toFixed(1)]),
    ),
    '',
    `Lists: ${Object.values(report.lists).reduce((sum, count) => sum + count, 0)}, all of the controller that was started again (${Object.keys(report.lists).length} kinds); none comes of a pod or a Migration.`,
    `Errors other than 404 and 409: ${Object.keys(report.requestErrors).length ? JSON.stringify(report.requestErrors) : 'none'}. The webhook took ${number(metrics.webhook.meanMilliseconds)} ms for an eviction on average,`,
    `and the policy \`podferry-place-is-kept\` ${number(metrics.policy.meanMilliseconds)} ms of the API server's time for a pod created (both as they passed: others ran meanwhile).`,
    '',
    '## The queue',
    '',
    'Reckoning whose turn it is, by itself on the same machine; a round: each of those that wait looks once.',
    '',
    ...table(
      ['waiting', 'one reckoning', 'a round'],
      reckoned.map(({ waiting, once, round }) => [number(waiting), `${number(once)} ms`, `${number(round)} ms`]),
    ),
  ];
}

function table(head: string[], rows: string[][]): string[] {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}

function failures(failed: Record<string, number>): string {
  const all = Object.entries(failed).map(([reason, count]) => `${count} ${reason}`);
  return all.length ? all.join(', ') : 'none';
}

export function number(value: number): string {
  return value.toLocaleString('en-US');
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

function minutes(value: number): string {
  return value < 120 ? `${Math.round(value)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}
