import { type Phase, phases } from '../../src/api/migration.ts';
import type { Migration, Pod } from '../../src/kube/resources.ts';
import { ask, type Counted, counted, counterSpec } from '../cluster/support/counter.ts';
import { handle, kubectl } from '../cluster/support/lab.ts';
import { readyMessage, Space } from '../cluster/support/space.ts';
import { until } from '../cluster/support/until.ts';
import type { Expected, Fault, Kind, Trial } from './fault.ts';
import { labIsWhole, podferryIsReady } from './inject.ts';
import { Watcher } from './watcher.ts';

export interface Outcome {
  fault: string;
  at: Phase;
  kind: Kind;
  /** The phase in which it really was when the fault struck. */
  struck: string;
  /** How the migration ended. */
  end: string;
  /** What became of the pod. */
  pod: string;
  seconds: number;
  /** Why it is no pass. */
  problem?: string;
}

/** Of all trials. */
export const space = new Space('faults');

/** An API server that was just started does not know yet what the policy podferry-place-is-kept looks at, and refuses pods. */
const create = (object: Parameters<Space['create']>[0]) => until('the object can be created', () => space.create(object), 30_000, 500);

/** Starts a pod of the kind on node-a, moves it to node-b with the fault on the way, heals, and judges. Never throws. */
export async function run(fault: Fault, kind: Kind): Promise<Outcome> {
  const began = performance.now();
  const outcome: Outcome = { fault: fault.name, at: fault.at, kind, struck: '?', end: '?', pod: '?', seconds: 0 };
  const watcher = new Watcher();
  let trial: Omit<Trial, 'migration'> | undefined;
  let healed = false;
  try {
    const pod = await start(kind, fault.memory ?? 64);
    trial = { space, kind, pod, source: 'node-a', destination: 'node-b' };
    await fault.prepare?.(trial);
    const before = await counted(pod, 10);
    await watcher.start(1);
    const asked = performance.now();
    const migration = await space.migrate('move', {
      pod: pod.metadata.name,
      destination: { nodeName: 'node-b' },
      ...(fault.transfer ? { transfer: fault.transfer } : {}),
      ...(fault.timeouts ? { timeouts: fault.timeouts } : {}),
    });
    outcome.struck = await waitForPhase(migration, fault.at);
    await fault.inject({ ...trial, migration });
    if (fault.heal) {
      await new Promise((resolve) => setTimeout(resolve, fault.lasts ?? 0));
      healed = true;
      await fault.heal(trial);
    }
    await judge(outcome, fault, before, asked);
  } catch (error) {
    outcome.problem = `${error instanceof Error ? error.message : error}${error instanceof Error && error.cause ? ` (${error.cause})` : ''}`;
  } finally {
    if (trial && !healed) await fault.heal?.(trial).catch(() => undefined);
    const most = await watcher.stop();
    if (most > 1) outcome.problem = `${most} copies ran at once${outcome.problem ? `; ${outcome.problem}` : ''}`;
    await cleanUp(outcome);
    outcome.seconds = Math.round((performance.now() - began) / 1000);
  }
  return outcome;
}

async function start(kind: Kind, memory: number): Promise<Pod> {
  await handle('namespace', space.name);
  const spec = await counterSpec('node-a', { env: { MB: String(memory) } });
  const template = { metadata: { labels: { app: 'counter' } }, spec };
  const selector = { matchLabels: { app: 'counter' } };
  switch (kind) {
    case 'Pod':
      await create({ apiVersion: 'v1', kind, metadata: { name: 'counter', labels: { app: 'counter' } }, spec });
      break;
    case 'Deployment':
      await create({ apiVersion: 'apps/v1', kind, metadata: { name: 'counter' }, spec: { replicas: 1, selector, template } });
      break;
    case 'StatefulSet':
      await create({
        apiVersion: 'apps/v1',
        kind,
        metadata: { name: 'counter' },
        spec: { replicas: 1, serviceName: 'counter', selector, template },
      });
      break;
  }
  const [pod] = await space.allReady('app=counter', 1, 120_000);
  if (pod?.spec.nodeName !== 'node-a') throw new Error(`the pod is on ${pod?.spec.nodeName}`);
  return pod;
}

/** The phase it was seen in: the wanted one, or, when that was too short to be seen, a later one. */
async function waitForPhase({ metadata: { name } }: Migration, wanted: Phase): Promise<string> {
  const position = phases.indexOf(wanted);
  return until(
    `the migration comes to ${wanted}`,
    async () => {
      const { status } = await space.migration(name);
      const phase = status?.phase ?? 'Pending';
      return phases.indexOf(phase) >= position ? phase : undefined;
    },
    60_000,
    5,
  );
}

async function judge(outcome: Outcome, fault: Fault, before: Counted, asked: number): Promise<void> {
  const expected: Expected = fault.expected ?? 'memory';
  const migration = await end(fault);
  const { phase = 'gone', failure } = migration?.status ?? {};
  outcome.end = failure ? `${phase}: ${failure.reason}` : phase;
  if (fault.phase && phase !== fault.phase) throw new Error(`the migration is ${phase}: ${migration ? readyMessage(migration) : ''}`);
  if (expected === 'gone') {
    await until('nothing is left of the pod', async () => ((await space.pods()).length === 0 ? true : undefined), 60_000);
    outcome.pod = 'gone, as was asked';
    return;
  }
  const pod = await until(
    'one pod runs',
    async () => {
      const pods = await space.pods();
      const [only] = pods.filter(({ metadata }) => metadata.labels?.app === 'counter');
      const ready = only?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True');
      return pods.length === 1 && ready && !only?.metadata.deletionTimestamp ? only : undefined;
    },
    90_000,
  ).catch(async (error: Error) => {
    throw new Error(
      `${error.message}; there are: ${await kubectl('-n', space.name, 'get', 'pods', '-o', 'wide')}; migration: ${migration ? readyMessage(migration) : 'gone'}`,
    );
  });
  const after = await until('the counter answers', () => ask(pod));
  const seconds = (performance.now() - asked) / 1000;
  const same = after.birth === before.birth && after.checksum === before.checksum;
  if (expected === 'fresh') {
    outcome.pod = `${pod.spec.nodeName}, ${same ? 'same memory' : 'fresh, as without podferry'}`;
    return;
  }
  if (!same)
    throw new Error(
      `the memory is lost: the counter began afresh on ${pod.spec.nodeName} (${migration ? readyMessage(migration) : 'migration gone'})`,
    );
  if (after.count < before.count) throw new Error(`the count went back from ${before.count} to ${after.count}`);
  if (after.count > before.count + seconds * 10 + 10)
    throw new Error(`the count skipped from ${before.count} to ${after.count} in ${seconds} s`);
  const wanted = { moved: 'node-b', stayed: 'node-a', memory: pod.spec.nodeName }[expected];
  if (pod.spec.nodeName !== wanted) throw new Error(`the pod is on ${pod.spec.nodeName}, not on ${wanted}`);
  await until('it counts on', async () => ((await ask(pod)).count > after.count ? true : undefined), 10_000);
  outcome.pod = `${pod.spec.nodeName}, same memory`;
}

async function end(fault: Fault): Promise<Migration | undefined> {
  let last: Migration | undefined;
  return until(
    'the migration ends',
    async () => {
      last = (await space.migrations())[0];
      if (!last) return { gone: true as const };
      const { phase } = last.status ?? {};
      if (phase === 'Succeeded' || phase === 'Failed') return last;
      throw new Error(`it is ${phase}: ${readyMessage(last)}`);
    },
    fault.limit ?? 120_000,
    200,
  ).then((found) => ('gone' in found ? undefined : found));
}

/** The next trial begins in a whole cluster; what is left of this one is a problem of its own. */
async function cleanUp(outcome: Outcome): Promise<void> {
  try {
    await labIsWhole();
    await Promise.all([podferryIsReady(), empty()]);
  } catch (error) {
    outcome.problem = `${outcome.problem ? `${outcome.problem}; ` : ''}afterwards: ${error instanceof Error ? `${error.message} (${error.cause ?? ''})` : error}`;
  }
}

/** The namespace is kept for the next trial, unless the trial was to delete it: that alone takes as long as a migration. */
async function empty(): Promise<void> {
  const phase = await kubectl('get', 'namespace', space.name, '--ignore-not-found', '-o', 'jsonpath={.status.phase}');
  if (phase !== 'Active') return space.remove();
  await kubectl('-n', space.name, 'delete', 'deploy,sts,rs,pods,mig', '--all', '--timeout=90s');
}
