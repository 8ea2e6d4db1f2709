/**
 * `node test/load/drain.ts SETTINGS.json`: evicts all the pods at once and asks again after a while, as kubectl drain does, until each is gone. A process of its own, so that nobody else's work is measured. The API server is that of KUBECONFIG.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeClient } from '../../src/kube/client.ts';
import { loadConfig } from '../../src/kube/config.ts';
import { KubeError } from '../../src/kube/errors.ts';
import { pods } from '../../src/kube/resources.ts';
import { messageOf } from '../../src/util/errors.ts';

export interface DrainSettings {
  pods: { namespace: string; name: string }[];
  /** That are drained: what is left on them when all are gone is evicted too, as by a drain that is asked for again. */
  nodes: string[];
  /** Requests under way at once. */
  connections: number;
  /** Between two evictions of a pod. Milliseconds. */
  askAgain: number;
  /** Where the outcome is written to, as JSON. */
  result: string;
}

export interface DrainOutcome {
  /** Of every answer, in the order of the answers. Milliseconds. */
  latencies: number[];
  /** Of those that took longer than 10 s, the timeout of the webhook's configuration. */
  late: number;
  /** By what was answered: `evicted`, `wait` (429), `gone` (404), or the words of an error. */
  answers: Record<string, number>;
  /** Pods that were still there, under another name, when the first ones were gone. */
  again: number;
  /** From the first eviction until the last pod was gone. Milliseconds. */
  took: number;
}

const settings = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as DrainSettings;
// A webhook may take ten seconds, and then it is its failure that is to be seen.
const client = new KubeClient(loadConfig(), { userAgent: 'drain', deadline: 30_000 });
const outcome: DrainOutcome = { latencies: [], late: 0, answers: {}, again: 0, took: 0 };

let underWay = 0;
const waiting: (() => void)[] = [];

async function ask(pod: { namespace: string; name: string }): Promise<string> {
  if (underWay >= settings.connections) await new Promise<void>((resolve) => waiting.push(resolve));
  underWay++;
  const begun = performance.now();
  try {
    await client.evict(pod);
    return 'evicted';
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    if (error.isTooManyRequests) return error.message.includes('podferry') ? 'wait' : `429: ${error.message.slice(0, 200)}`;
    if (error.isNotFound) return 'gone';
    return messageOf(error).replaceAll(pod.name, 'POD').slice(0, 300);
  } finally {
    const took = performance.now() - begun;
    outcome.latencies.push(Math.round(took * 10) / 10);
    if (took > 10_000) outcome.late++;
    underWay--;
    waiting.shift()?.();
  }
}

async function drain(pod: { namespace: string; name: string }): Promise<void> {
  for (;;) {
    const answer = await ask(pod);
    outcome.answers[answer] = (outcome.answers[answer] ?? 0) + 1;
    if (answer === 'evicted' || answer === 'gone') return;
    await sleep(settings.askAgain);
  }
}

async function remaining(): Promise<DrainSettings['pods']> {
  const { items } = await client.list(pods, { labelSelector: 'state=kept' });
  return items
    .filter(({ metadata, spec }) => settings.nodes.includes(spec.nodeName ?? '') && !metadata.deletionTimestamp)
    .map(({ metadata }) => ({ namespace: metadata.namespace ?? '', name: metadata.name }));
}

const begun = performance.now();
await Promise.all(settings.pods.map(drain));
for (let left = await remaining(); left.length > 0; left = await remaining()) {
  outcome.again += left.length;
  await Promise.all(left.map(drain));
}
outcome.took = Math.round(performance.now() - begun);
await client.close();
await writeFile(settings.result, JSON.stringify(outcome));
