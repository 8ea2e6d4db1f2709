/**
 * What `make demo` shows: stateful pods of each kind are moved from one real node to the other, their counters going on
 * where they stopped. Ends with a table; exit code 1 when a counter did not go on.
 */

import type { Pod } from '../../src/api/pod.ts';
import { closeCluster } from '../cluster/support/cluster.ts';
import { ask, type Counted, counted, counterSpec } from '../cluster/support/counter.ts';
import { handle } from '../cluster/support/lab.ts';
import { Space } from '../cluster/support/space.ts';
import { until } from '../cluster/support/until.ts';

const space = new Space('demo');
const say = (text: string) => process.stderr.write(`demo: ${text}\n`);

/** Each with one pod, labelled `app: KIND`. */
const workloads: { kind: string; create(): Promise<unknown> }[] = [
  {
    kind: 'Pod',
    create: async () =>
      space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bare', labels: { app: 'Pod' } }, spec: await spec() }),
  },
  {
    kind: 'Deployment',
    create: async () =>
      space.create({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web' },
        spec: { replicas: 1, ...(await templated('Deployment')) },
      }),
  },
  {
    kind: 'StatefulSet',
    create: async () =>
      space.create({
        apiVersion: 'apps/v1',
        kind: 'StatefulSet',
        metadata: { name: 'db' },
        spec: { replicas: 1, serviceName: 'db', ...(await templated('StatefulSet')) },
      }),
  },
  {
    kind: 'Job',
    create: async () => {
      const { template } = await templated('Job');
      return space.create({
        apiVersion: 'batch/v1',
        kind: 'Job',
        metadata: { name: 'batch' },
        spec: { template: { ...template, spec: { ...template.spec, restartPolicy: 'Never' } } },
      });
    },
  },
];

const spec = () => counterSpec('node-a', { env: { MB: '32' } });
const templated = async (kind: string) => ({
  selector: { matchLabels: { app: kind } },
  template: { metadata: { labels: { app: kind } }, spec: await spec() },
});

interface Row {
  kind: string;
  before: Counted;
  after: Counted;
  from: Pod;
  to: Pod;
  downtime: number;
  bytes: number;
}

async function move(kind: string): Promise<Row> {
  const [from] = await space.allReady(`app=${kind}`, 1);
  if (!from) throw new Error(`there is no pod of ${kind}`);
  const before = await counted(from, 20);
  say(`kubectl annotate pod ${from.metadata.name} podferry.io/migrate-to=node-b`);
  const { status } = await space.succeeded(await space.annotate(from.metadata.name, 'node-b'));
  const [to] = await space.allReady(`app=${kind}`, 1);
  if (!to) throw new Error(`there is no pod of ${kind} any more`);
  const after = await until('the counter answers', () => ask(to));
  return { kind, before, after, from, to, downtime: status?.downtimeMilliseconds ?? Number.NaN, bytes: status?.bytesSent ?? Number.NaN };
}

function table(rows: Row[]): string {
  const head = ['WORKLOAD', 'COUNTER BEFORE', 'COUNTER AFTER', 'SAME MEMORY', 'NODE BEFORE', 'NODE AFTER', 'DOWNTIME (MS)', 'BYTES MOVED'];
  const cells = rows.map(({ kind, before, after, from, to, downtime, bytes }) => [
    kind,
    before.count,
    after.count,
    goesOn(before, after) ? 'yes' : 'NO',
    from.spec.nodeName ?? '',
    to.spec.nodeName ?? '',
    downtime,
    bytes,
  ]);
  const all = [head, ...cells].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const goesOn = (before: Counted, after: Counted) =>
  after.birth === before.birth && after.checksum === before.checksum && after.count >= before.count;

try {
  await space.remove();
  await handle('namespace', space.name);
  say('a bare pod, a Deployment, a StatefulSet and a Job, each with a counter and 32 MiB of random memory, start on node-a');
  await Promise.all(workloads.map(({ create }) => create()));
  const rows: Row[] = [];
  for (const { kind } of workloads) rows.push(await move(kind));
  process.stdout.write(`\n${table(rows)}\n\n`);
  say('the cluster goes on: test/lab/kubectl -n demo get pods,migrations -o wide; take it down with: make lab-down');
  if (!rows.every(({ before, after }) => goesOn(before, after))) process.exitCode = 1;
} finally {
  await closeCluster();
}
