import type { Logger } from 'pino';
import type { Migration } from '../api/migration.ts';
import type { MigrationPolicy } from '../api/policy.ts';
import { type MigrationPreview, mostRows, type PreviewStatus, previewDefaults } from '../api/preview.ts';
import { type Reason, reasons } from '../api/reasons.ts';
import { setCondition } from '../kube/conditions.ts';
import { microTime } from '../kube/time.ts';
import { countsOf, onlyOf, type Preview, previewNode } from '../plan/policy/preview.ts';
import type { PreviewInput } from '../plan/policy/preview-input.ts';

export interface PreviewPorts extends Pick<PreviewInput, 'namespaceLabels'> {
  now(): number;
  /** Straight from the API server: a preview tells what is so now. */
  getPreview(name: string, signal: AbortSignal): Promise<MigrationPreview | undefined>;
  getNode(name: string, signal: AbortSignal): Promise<PreviewInput['node'] | undefined>;
  /** One list each. */
  podsOn(nodeName: string, signal: AbortSignal): Promise<PreviewInput['pods']>;
  policies(signal: AbortSignal): Promise<readonly MigrationPolicy[]>;
  /** From caches that may lag. */
  migrations(): readonly Migration[];
  budgets(): PreviewInput['budgets'];
  nodeOf(namespace: string, pod: string): string | undefined;
  writeStatus(preview: MigrationPreview, status: PreviewStatus, signal: AbortSignal): Promise<void>;
  remove(preview: MigrationPreview, signal: AbortSignal): Promise<void>;
  lookAgain(name: string, after: number): void;
  log: Logger;
}

/** Characters of a message in a status; the rest is left out. */
const longest = 1000;

/** Fills a MigrationPreview once; removes it when its time is over. Acts on nothing else. */
export async function keepPreview(ports: PreviewPorts, name: string, signal: AbortSignal): Promise<void> {
  const preview = await ports.getPreview(name, signal);
  if (!preview || preview.metadata.deletionTimestamp) return;
  const { ttlSecondsAfterFinished = previewDefaults.ttlSecondsAfterFinished } = preview.spec;
  if (preview.status?.observed === undefined) {
    await ports.writeStatus(preview, await look(ports, preview, signal), signal);
    ports.log.info({ preview: name, node: preview.spec.nodeName }, 'a preview was made');
    ports.lookAgain(name, ttlSecondsAfterFinished * 1000);
    return;
  }
  const left = Date.parse(preview.status.observed) + ttlSecondsAfterFinished * 1000 - ports.now();
  if (left > 0) ports.lookAgain(name, left);
  else await ports.remove(preview, signal);
}

async function look(ports: PreviewPorts, preview: MigrationPreview, signal: AbortSignal): Promise<PreviewStatus> {
  const { nodeName, policy, trigger = 'Eviction' } = preview.spec;
  const node = await ports.getNode(nodeName, signal);
  if (!node) return failed(ports, preview, reasons.nodeNotFound, `there is no node ${nodeName}`);
  const [pods, policies] = await Promise.all([ports.podsOn(nodeName, signal), ports.policies(signal)]);
  if (policy !== undefined && !policies.some(({ metadata }) => metadata.name === policy))
    return failed(ports, preview, reasons.policyNotFound, `there is no MigrationPolicy ${policy}`);
  const all = previewNode({
    now: ports.now(),
    trigger,
    node,
    pods,
    policies,
    migrations: ports.migrations(),
    budgets: ports.budgets(),
    namespaceLabels: ports.namespaceLabels,
    nodeOf: ports.nodeOf,
  });
  return filled(ports, preview, policy === undefined ? all : onlyOf(all, policy));
}

function filled(ports: PreviewPorts, preview: MigrationPreview, { pods }: Preview): PreviewStatus {
  const counts = countsOf(pods);
  const words = Object.entries(counts).map(([verdict, count]) => `${count} ${verdict}`);
  return {
    ...concluded(ports, preview, 'True', reasons.previewed, `${words.join(', ') || 'no pods'}; nothing was done`),
    counts,
    pods: pods.slice(0, mostRows).map((pod) => ({ ...pod, message: cut(pod.message) })),
    ...(pods.length > mostRows ? { omitted: pods.length - mostRows } : {}),
  };
}

function failed(ports: PreviewPorts, preview: MigrationPreview, reason: Reason, message: string): PreviewStatus {
  return concluded(ports, preview, 'False', reason, `${message}; make another MigrationPreview`);
}

function concluded(
  ports: PreviewPorts,
  { metadata: { generation }, status }: MigrationPreview,
  ready: 'True' | 'False',
  reason: Reason,
  message: string,
): PreviewStatus {
  const now = new Date(ports.now());
  const observedGeneration = generation === undefined ? {} : { observedGeneration: generation };
  const condition = { type: 'Ready', status: ready, ...observedGeneration, reason, message };
  return { ...observedGeneration, observed: microTime(now), conditions: [...setCondition(status?.conditions, condition, now)] };
}

function cut(message: string): string {
  return message.length <= longest ? message : `${message.slice(0, longest)}…`;
}
