import { type Measured, number } from './document.ts';
import { workOf } from './report.ts';

const nodes = 5000;
const pods = 100_000;

/**
 * What 5,000 nodes and 100,000 pods would need: the words are written by hand, the figures follow from the run's.
 */
export function outlook({ report, objects, reckoned }: Measured): string[] {
  const { footprints, evictions, seen, migration, limits } = report;
  const mebibytes = (bytes: number) => number(Math.round(bytes / (1 << 20)));
  const empty = Math.max(...Object.entries(footprints).flatMap(([name, { start }]) => (name.startsWith('controller') ? [start] : [])));
  const perPod = workOf(report) / report.pods;
  const atOnce = limits.cluster * 5;
  const rate = atOnce / (migration.median / 1000);
  const controllerCpu = Object.entries(footprints).reduce((sum, [name, { cpu }]) => sum + (name.startsWith('controller') ? cpu : 0), 0);
  const webhookCpu = (footprints['webhook-one']?.cpu ?? 0) / evictions.answered;
  const largest = reckoned.at(-1);
  const changes = seen.events / report.migrations;
  const caches = pods * objects.pod + nodes * objects.node;
  return [
    `## ${number(nodes)} nodes, ${number(pods)} pods`,
    '',
    'Not run: reckoned from the figures above. A twentieth of the nodes is drained at a time (250 nodes, 5,000 pods), with the limit',
    `\`cluster: ${atOnce}\`.`,
    '',
    '**Memory of the controller.** Both replicas keep what they follow: all pods (only what wakes a migration up), nodes, Migrations.',
    `That is ${mebibytes(caches)} MiB for pods and nodes, ${mebibytes(1000 * objects.migration)} MiB for each thousand Migrations, beside the ${empty} MiB of an idle process. Migrations of policies`,
    `are kept for a day after their end: had all ${number(pods)} pods moved within one, ${mebibytes(pods * objects.migration)} MiB more. So the limit of the`,
    `Deployment (512 MiB) does not do: give it ${number(Math.ceil((1.5 * (empty + caches / (1 << 20) + (pods * objects.migration) / (1 << 20))) / 256) * 256)} MiB, half of it for what the collector has not got to. The webhook follows`,
    'Migrations, policies and namespaces, and needs the same for the Migrations only.',
    '',
    `**Requests.** ${number(atOnce)} at once with moves of ${(migration.median / 1000).toFixed(1)} s are ${rate.toFixed(0)} pods a second, and with ${perPod.toFixed(0)} requests a pod ${number(Math.round(rate * perPod))} requests a second, most of them reads`,
    'of single objects; 5,000 pods take ' +
      `${number(Math.round(5000 / rate))} s. The API server's priority and fairness treats podferry as it treats the cluster's own controllers`,
    '(`manifests/base/controller/priority.yaml`). Waiting asks for little: a Migration looks where it stands every 30 s, further back less often',
    `(every 0.3 s times its position), so ${number(pods)} that wait cause about 26 looks a second, not 3,300.`,
    '',
    `**Evictions.** kubectl drain asks for each pod every 5 s: 5,000 pods are 1,000 evictions a second, and each takes ${(webhookCpu * 1000).toFixed(1)} ms of a CPU in the`,
    `webhook here. So ${Math.max(2, Math.ceil(1000 * webhookCpu * 1.5))} replicas would be needed (the manifests have 2), or fewer nodes drained at a time: one replica answers ${number(Math.floor(1 / webhookCpu))} a second on a core to itself.`,
    '',
    `**CPU of the controller.** ${((controllerCpu * 1000) / report.pods).toFixed(0)} ms for a pod moved here, so ${rate.toFixed(0)} pods a second take ${((controllerCpu / report.pods) * rate).toFixed(1)} cores; Node.js has one to give. Above`,
    `${number(Math.floor(report.pods / controllerCpu))} pods a second the controller is the bound, and moves take longer. It would have to be divided by namespaces; it is not.`,
    '',
    `**Watches.** A Migration is sent ${changes.toFixed(0)} times to each of four watchers (two controllers, two webhooks), ${number(seen.eventBytes)} bytes each: at ${rate.toFixed(0)} pods a second`,
    `${((rate * changes * seen.eventBytes * 4) / 1e6).toFixed(1)} MB a second out of the API server. And both controllers hear of every change of every pod of the cluster: with ${number(pods)} pods of`,
    'about 6 kB that each change once in ten minutes, 2 MB a second, which they read and mostly throw away. At a start each lists them once,',
    'in pages of 500.',
    '',
    `**The queue.** With ${number(largest?.waiting ?? 0)} waiting a reckoning takes ${number(Math.round(largest?.once ?? 0))} ms, in which the controller does nothing else; it leaves twenty times as long`,
    'before the next, and what it has found is used until then. So a place that falls free is filled after up to that time, and the',
    'leader is otherwise not held up.',
    '',
    '**A new leader** looks once at every Migration there is, those that ended within the last day too: two to three reads each, 16 at once.',
    `With ${number(pods)} of them that is ${number(Math.round((pods * 2.5) / 1000))} thousand requests, which come before much else. A shorter \`ttlSecondsAfterFinished\` would help; policies cannot`,
    'set it yet.',
    '',
    '**What else grows with the cluster.** Placeholders and targets are pods that the scheduler and kubelets handle; the policy',
    '`podferry-place-is-kept` looks, at each pod created in an enabled namespace, at every Migration of that namespace. Nodes that a policy',
    'empties by cordon or taint are looked at every 30 s, each with a list of its own pods and a walk over all Migrations.',
    '',
    '## What was changed because of this test',
    '',
    ...changed,
  ];
}

/** Measured with `reckoning.ts` and small runs, before and after; not repeated by a run. */
const changed: string[] = [
  '| what | before | after |',
  '| --- | --- | --- |',
  '| a round of the queue with 1,000 waiting (each looks once) | 5.8 s of the controller | 0.03 s; with 100,000: 1.5 s |',
  '| requests of podferry for a pod moved, without those for evictions | 165 | about 110 |',
  '| of these: reads of Migrations / of pods / writes of status | 39 / 78 / 23 | 17 / 57 / 14 |',
  '| requests for the eviction of a pod that waits for its turn | 1 | 0 |',
  '| looks of 100,000 that wait | 3,300 a second | 26 a second |',
  '',
  '- The queue was reckoned at every look of every Migration that waits. Now whoever has a turn is granted it when something changes; who',
  '  waits gets what the last reckoning found, which may be twenty times as old as the reckoning took.',
  '- What the controller wrote itself made it look again when the cache showed it; and it read again what the API server had just answered.',
  '- Words alone ("the agent prepares") are not written when something is done about it at once.',
  '- Migrations under way, which are frozen on a lease, stood behind all that wait or have ended: leases ran out in a storm, and would have',
  '  at a change of leaders. They go first.',
  '- Each Migration keeps a wait open at the agents of both nodes, and 16 connections to a node were shared by waits and calls: from the',
  '  17th on a node no call would have come through. Waits have connections of their own.',
  '- podferry had the priority of any ServiceAccount at the API server; an overloaded one let its leader lose its lease. It has that of the',
  "  cluster's own controllers now (`manifests/base/controller/priority.yaml`).",
];
