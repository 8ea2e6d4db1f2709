import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../../src/api/pod.ts';
import { ask, counterContainer } from '../cluster/support/counter.ts';
import { imageOf } from '../cluster/support/images.ts';
import { kubectl, service } from '../cluster/support/lab.ts';
import type { Space } from '../cluster/support/space.ts';
import { readyMessage } from '../cluster/support/space.ts';
import { until } from '../cluster/support/until.ts';
import { breakTransfer, killLeader, killPodferry, labIsWhole, mendTransfer, podferryIsReady } from '../faults/inject.ts';
import { leftovers, memory } from './leftovers.ts';
import { Writer } from './writer.ts';

export interface SoakOptions {
  moves: number;
  /** The first of them are without faults, so that the same processes see them all and their memory can be compared. */
  quietMoves: number;
  /** After those, one fault in so many moves; 0: none. */
  faultEvery: number;
  seed: number;
  say(text: string): void;
}

export interface SoakReport {
  moves: number;
  succeeded: number;
  rolledBack: number;
  faults: number;
  acknowledged: number;
  lost: number;
  longestGapMilliseconds: number;
  journalLines: number;
  journalFaults: string[];
  leftovers: string[];
  /** MiB of each process when it had seen a few moves, and after the last quiet one. */
  memoryBefore: Record<string, number>;
  memoryAfter: Record<string, number>;
  downtimeMedianMilliseconds: number;
}

const pods = ['redis-0', 'journal-0'] as const;
const other = (node: string) => (node === 'node-a' ? 'node-b' : 'node-a');

/** What is done to the cluster while a pod moves from one node to the other, and what is to be done afterwards. */
const faults: { name: string; inject(from: string, to: string): Promise<void>; heal?(from: string, to: string): Promise<void> }[] = [
  { name: "kill -9 of the source's agent", inject: (from) => killPodferry(from, 'agent') },
  { name: "kill -9 of the destination's agent", inject: (_from, to) => killPodferry(to, 'agent') },
  { name: 'kill -9 of the controller that leads', inject: () => killLeader() },
  {
    name: 'kill -9 of all webhooks',
    inject: async () => void (await Promise.all(['node-a', 'node-b'].map((node) => killPodferry(node, 'webhook')))),
  },
  {
    name: "kill -9 of the destination's kubelet",
    inject: async (_from, to) => void (await service(to, 'kill', 'kubelet')),
    heal: () => labIsWhole(),
  },
  { name: 'connection between the agents cut', inject: (_from, to) => breakTransfer(to, 'drop'), heal: (_from, to) => mendTransfer(to) },
];

/** Moves the two pods back and forth; what must not be lost or left is counted, not thrown. */
export async function soak(space: Space, { moves, quietMoves, faultEvery, seed, say }: SoakOptions): Promise<SoakReport> {
  const random = generator(seed);
  await create(space);
  for (const pod of pods) await space.ready(pod, 60_000);
  const writer = new Writer(async () => (await space.pod('redis-0')).status?.podIP ?? '').start();
  const report: SoakReport = {
    moves,
    succeeded: 0,
    rolledBack: 0,
    faults: 0,
    acknowledged: 0,
    lost: 0,
    longestGapMilliseconds: 0,
    journalLines: 0,
    journalFaults: [],
    leftovers: [],
    memoryBefore: {},
    memoryAfter: {},
    downtimeMedianMilliseconds: 0,
  };
  const downtimes: number[] = [];
  for (let move = 1; move <= moves; move++) {
    const name = pods[move % 2] ?? 'redis-0';
    const from = (await space.ready(name, 120_000)).spec.nodeName ?? '';
    const to = other(from);
    const fault = faultEvery && move > quietMoves && move % faultEvery === 0 ? faults[Math.floor(random() * faults.length)] : undefined;
    const migration = await space.annotate(name, to);
    if (fault) {
      report.faults++;
      await sleep(random() * 2500);
      await fault.inject(from, to);
      await sleep(2000);
      await fault.heal?.(from, to);
    }
    const end = await space.finished(migration, 180_000);
    if (end.status?.phase === 'Succeeded') {
      report.succeeded++;
      downtimes.push(end.status.downtimeMilliseconds ?? 0);
    } else report.rolledBack++;
    say(`${move}/${moves} ${name} ${from} → ${to}${fault ? ` (${fault.name})` : ''}: ${readyMessage(end)}`);
    if (move === Math.ceil(quietMoves / 4)) report.memoryBefore = await memory();
    if (move === quietMoves) report.memoryAfter = await memory();
    if (fault) await podferryIsReady();
    await kubectl('-n', space.name, 'delete', 'mig', end.metadata.name, '--wait=false');
  }
  for (const pod of pods) await space.ready(pod, 120_000);
  const before = writer.acknowledged;
  await until('the writer goes on', () => (writer.acknowledged > before ? true : undefined), 30_000);
  await writer.stop();
  report.acknowledged = writer.acknowledged;
  report.lost = await writer.lost();
  report.longestGapMilliseconds = Math.round(writer.longestGap);
  await judgeJournals(space, report);
  report.downtimeMedianMilliseconds = downtimes.sort((left, right) => left - right)[Math.floor(downtimes.length / 2)] ?? 0;
  report.leftovers = await leftovers(pods.length);
  return report;
}

async function create(space: Space): Promise<void> {
  const redis = {
    name: 'redis',
    image: await imageOf('redis'),
    args: ['--save', '', '--protected-mode', 'no'],
    readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 },
    securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
  };
  const volumeMounts = [{ name: 'journal', mountPath: '/journal' }];
  const shell = {
    name: 'shell',
    image: await imageOf('shell'),
    args: ['-c', 'n=0; while :; do n=$((n + 1)); echo $n >>/journal/shell; sleep 0.1; done'],
    volumeMounts,
  };
  const counter = await counterContainer({ env: { JOURNAL: '/journal/counter' }, volumeMounts });
  const set = (name: string, containers: object[], more: object = {}) =>
    space.create({
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name },
      spec: {
        replicas: 1,
        serviceName: name,
        selector: { matchLabels: { app: name } },
        template: { metadata: { labels: { app: name } }, spec: { terminationGracePeriodSeconds: 1, containers, ...more } },
      },
    });
  await set('redis', [redis]);
  await set('journal', [counter, shell], { volumes: [{ name: 'journal', emptyDir: {} }] });
}

/** Each line is the one before plus one: nothing written twice, nothing lost, and as far as the process has counted. */
async function judgeJournals(space: Space, report: SoakReport): Promise<void> {
  const pod: Pod = await space.ready('journal-0');
  const { count } = await ask(pod);
  for (const file of ['counter', 'shell']) {
    const text = await kubectl('-n', space.name, 'exec', 'journal-0', '-c', 'shell', '--', '/bin/cat', `/journal/${file}`);
    const lines = text.trim().split('\n').map(Number);
    report.journalLines += lines.length;
    const wrong = lines.findIndex((line, index) => line !== index + 1);
    if (wrong >= 0) report.journalFaults.push(`${file}: line ${wrong + 1} is ${lines[wrong]}`);
    if (file === 'counter' && lines.length < count)
      report.journalFaults.push(`${file}: ${lines.length} lines, but it had counted to ${count}`);
  }
}

/** Random numbers in [0, 1) that are the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
