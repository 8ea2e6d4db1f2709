import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { internalAnnotations, labels } from '../../src/api/names.ts';
import { isReady } from '../../src/api/pod.ts';
import { leases, type Migration, nodes as nodeResource, type Pod, pods as podResource } from '../../src/kube/resources.ts';
import { keyOf } from '../../src/kube/types.ts';
import { eventually } from '../integration/harness.ts';
import { requestsIn } from './audit.ts';
import { type Cluster, type Podferry, podferryNamespace, startCluster } from './cluster.ts';
import type { DrainOutcome, DrainSettings } from './drain.ts';
import { LimitsWatcher } from './limits.ts';
import type { NodeAddress } from './nodes/agent.ts';
import { agentsReady, cordon, covered, createNodes, createPods, createPolicy, type Limits } from './objects.ts';
import { Footprints } from './processes.ts';
import { type Report, summary } from './report.ts';
import { metricsOf } from './scrape.ts';

export interface LoadOptions {
  pods: number;
  /** That are drained; as many more take the pods. */
  nodes: number;
  namespaces: number;
  limits: Limits;
  /** Evictions under way at once. */
  connections: number;
  /** After so long each pod is asked for again; kubectl drain waits 5,000. Milliseconds. */
  askAgain: number;
  /** The leading controller is killed when this share of the pods has moved. */
  killAt: number;
  /** What the storm may take. Milliseconds. */
  patience: number;
  /** Where the logs of all programs are left, if anywhere. */
  logs?: string | undefined;
  say(text: string): void;
}

/** Evicts all pods of half of the nodes at once, with the real control plane and the real controller and webhook. */
export async function load(options: LoadOptions): Promise<Report> {
  const { say } = options;
  const begun = performance.now();
  const cluster = await startCluster(2 * options.nodes, say);
  try {
    const report = await storm(cluster, options);
    say(`done after ${Math.round((performance.now() - begun) / 1000)} s`);
    return report;
  } catch (error) {
    say(`the logs end with\n${cluster.server.tails(5)}`);
    throw error;
  } finally {
    if (options.logs !== undefined) await keepLogs(cluster.server.directory, options.logs);
    await cluster.server.stop();
  }
}

async function keepLogs(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  const logs = (await readdir(from)).filter((name) => name.endsWith('.log') || name === 'drained.json');
  await Promise.all(logs.map((name) => cp(join(from, name), join(to, name))));
}

async function storm(cluster: Cluster, options: LoadOptions): Promise<Report> {
  const { server, controllers, webhook } = cluster;
  const { pods: count, nodes, say } = options;
  const [sources, destinations] = [cluster.nodes.slice(0, nodes), cluster.nodes.slice(nodes)];
  await createNodes(server, sources);
  await agentsReady(server, nodes);
  const spaces = Array.from({ length: options.namespaces }, (_, index) => `load-${index}`);
  const pods = await createPods(server, { count, spaces, nodes: sources });
  say(`${count} pods run on ${nodes} nodes`);
  await cordon(server, sources);
  await createNodes(server, destinations);
  await agentsReady(server, 2 * nodes);
  await createPolicy(server, options.limits);
  await Promise.all([...controllers, webhook].map((podferry) => eventually(() => assertReady(podferry), 60_000)));

  const nodeOf = new Map(pods.map(({ metadata, spec }) => [`${metadata.namespace}/${metadata.name}`, spec.nodeName ?? '']));
  const watcher = new LimitsWatcher(server.client, options.limits, (namespace, pod) => nodeOf.get(`${namespace}/${pod}`));
  const footprints = new Footprints(
    new Map([...controllers, webhook].map(({ identity, service }) => [identity, () => service.pid] as const)).set(
      'kube-apiserver',
      () => server.pid,
    ),
  );
  try {
    await watcher.start();
    await footprints.start();
    return await measure(cluster, options, { pods, sources, watcher, footprints });
  } finally {
    await Promise.all([watcher.stop(), footprints.stop()]);
  }
}

interface Prepared {
  pods: Pod[];
  sources: NodeAddress[];
  watcher: LimitsWatcher;
  footprints: Footprints;
}

async function measure(cluster: Cluster, options: LoadOptions, { pods, sources, watcher, footprints }: Prepared): Promise<Report> {
  const { server, controllers, webhook } = cluster;
  // What starting has brought about is over.
  await sleep(2000);
  const from = Date.now();
  const drain = await startDrain(
    cluster,
    options,
    pods.map(({ metadata }) => ({ namespace: metadata.namespace ?? '', name: metadata.name })),
    sources.map(({ name }) => name),
  );
  const killed = await follow(cluster, options, watcher, drain);
  const outcome = JSON.parse(await readFile(drain.result, 'utf8')) as DrainOutcome;
  await eventually(() => {
    if (watcher.running + watcher.waiting > 0) throw new Error(`${watcher.running} migrations still run, ${watcher.waiting} wait`);
  }, 60_000);
  // All events are written, and nothing more happens.
  await sleep(3000);
  const to = Date.now();
  const requests = await requestsIn(cluster.audit, from, to);
  const metrics = await metricsOf(
    server.client,
    webhook.probes,
    controllers.map(({ probes }) => probes),
  );
  const version = ((await server.client.request({ method: 'GET', path: '/version' })) as { gitVersion: string }).gitVersion;
  const left = await leftovers(cluster, pods, new Set(sources.map(({ name }) => name)));
  const migrations = watcher.list();
  const seen = await watcher.stop();
  const samples = {
    migration: migrations.find(({ status }) => status?.phase === 'Succeeded') as Migration,
    pod: pods[0] as Pod,
    node: await server.client.get(nodeResource, { name: sources[0]?.name ?? '' }),
  };
  return summary({
    options,
    outcome,
    killed,
    seen,
    requests,
    metrics,
    left,
    samples,
    version,
    migrations,
    footprints: await footprints.stop(),
    storm: to - from,
  });
}

/** @throws Error with what is missing */
async function assertReady({ identity, service, probes }: Podferry): Promise<void> {
  if (!service.running) throw new Error(`${identity} has ended:\n${service.tail()}`);
  const answer = await fetch(`http://127.0.0.1:${probes}/readyz`);
  if (!answer.ok) throw new Error(`${identity}: ${await answer.text()}`);
}

interface Drain {
  program: ReturnType<Cluster['server']['program']>;
  result: string;
}

async function startDrain(
  { server }: Cluster,
  { connections, askAgain }: LoadOptions,
  pods: DrainSettings['pods'],
  nodes: DrainSettings['nodes'],
): Promise<Drain> {
  const result = join(server.directory, 'drained.json');
  const file = join(server.directory, 'drain.json');
  await writeFile(file, JSON.stringify({ pods, nodes, connections, askAgain, result } satisfies DrainSettings));
  const kubeconfig = await server.kubeconfigFor('drain', ['system:masters']);
  const program = server.program('drain', process.execPath, [join(import.meta.dirname, 'drain.ts'), file], {
    KUBECONFIG: kubeconfig,
    NODE_OPTIONS: '',
  });
  program.start();
  return { program, result };
}

export interface Killed {
  identity: string;
  /** Migrations under way at that moment. */
  running: number;
  /** Until the other replica led. Milliseconds. */
  takeover: number;
}

/** Until the drain ends; on the way the leader is killed, and started again when another leads. */
async function follow(cluster: Cluster, options: LoadOptions, watcher: LimitsWatcher, { program }: Drain): Promise<Killed | undefined> {
  const until = performance.now() + options.patience;
  let killed: Killed | undefined;
  let told = 0;
  while (program.running) {
    await sleep(500);
    if (!killed && watcher.finished >= options.pods * options.killAt) {
      killed = await killLeader(cluster, watcher.running);
      options.say(`killed ${killed.identity} with ${killed.running} migrations under way; the other led ${killed.takeover} ms later`);
    }
    if (performance.now() > until)
      throw new Error(`not drained in time: ${watcher.finished} finished, ${watcher.running} run, ${watcher.waiting} wait`);
    if (++told % 20 === 0) options.say(`${watcher.finished} finished, ${watcher.running} run, ${watcher.waiting} wait`);
  }
  return killed;
}

async function killLeader({ server, controllers }: Cluster, running: number): Promise<Killed> {
  const lease = { namespace: podferryNamespace, name: 'podferry-controller' };
  const holder = async () => (await server.client.get(leases, lease)).spec?.holderIdentity ?? '';
  const before = await holder();
  const leader = controllers.find(({ identity }) => before.startsWith(identity));
  if (!leader) throw new Error(`no controller is ${before}`);
  const at = performance.now();
  await leader.service.kill();
  await eventually(async () => {
    const now = await holder();
    if (now === before || now === '') throw new Error(`still led by ${now}`);
  }, 60_000);
  const takeover = Math.round(performance.now() - at);
  leader.service.start();
  return { identity: leader.identity, running, takeover };
}

/** What is not as it should be afterwards; `before` the pods as they were. */
async function leftovers({ server }: Cluster, before: readonly Pod[], sources: Set<string>): Promise<string[]> {
  const problems: string[] = [];
  const all = await covered(server);
  const running = all.filter((pod) => isReady(pod) && !pod.metadata.deletionTimestamp);
  if (running.length !== before.length || all.length !== before.length)
    problems.push(`${running.length} of ${all.length} pods run, not ${before.length}`);
  const names = new Set(all.map(keyOf));
  const bare = before.filter((pod) => !pod.metadata.ownerReferences?.length && !names.has(keyOf(pod)));
  if (bare.length) problems.push(`pods that are nowhere: ${bare.map(keyOf)}`);
  const stayed = all.filter(({ spec }) => sources.has(spec.nodeName ?? ''));
  if (stayed.length) problems.push(`pods still on nodes that were drained: ${stayed.map(keyOf)}`);
  const fresh = all.filter(({ metadata }) => !metadata.annotations?.[internalAnnotations.migrationUid]);
  if (fresh.length) problems.push(`pods without their memory: ${fresh.map(keyOf)}`);
  const { items } = await server.client.list(podResource, { labelSelector: labels.role });
  if (items.length) problems.push(`${items.length} placeholders or released sources are left`);
  return problems;
}
