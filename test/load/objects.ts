import type { Node, Pod } from '../../src/api/pod.ts';
import { isReady } from '../../src/api/pod.ts';
import { migrationPolicies, namespaces, nodes as nodeResource, pods as podResource } from '../../src/kube/resources.ts';
import type { KubeObject, Resource } from '../../src/kube/types.ts';
import type { ApiServer } from '../integration/harness.ts';
import { eventually } from '../integration/harness.ts';
import { podferryNamespace } from './cluster.ts';
import type { NodeAddress } from './nodes/agent.ts';

export interface Limits {
  perSource: number;
  perDestination: number;
  cluster: number;
}

export const policyName = 'keep-state';
const image = 'registry.podferry.test/app:1';
const kept = { state: 'kept' };

const replicaSets: Resource = { group: 'apps', version: 'v1', plural: 'replicasets', kind: 'ReplicaSet', namespaced: true };

/** Runs some at a time. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items];
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

/** Nodes with their agents' pods. */
export async function createNodes({ client }: ApiServer, nodes: readonly NodeAddress[]): Promise<void> {
  await each(nodes, async ({ name, address }) => {
    const node = await client.create(nodeResource, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux' } },
    } as Node & { metadata: { name: string } });
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const room = { cpu: '32', memory: '64Gi', pods: '110', 'ephemeral-storage': '100Gi' };
    const status = {
      capacity: room,
      allocatable: room,
      addresses: [{ type: 'InternalIP', address }],
      conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: '', lastHeartbeatTime: now, lastTransitionTime: now }],
      nodeInfo: { architecture: 'amd64', operatingSystem: 'linux' },
    };
    await client.patch(nodeResource, { name: node.metadata.name }, { type: 'merge', body: { status } }, { subresource: 'status' });
    await client.create(podResource, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: `podferry-agent-${name}`,
        namespace: podferryNamespace,
        labels: { 'app.kubernetes.io/component': 'agent', 'podferry.io/app': 'podferry' },
      },
      spec: { nodeName: name, containers: [{ name: 'agent', image }], tolerations: [{ operator: 'Exists' }] },
    } as Pod & { metadata: { name: string } });
  });
}

/** Half of the pods stand alone, half belong to ReplicaSets; evenly on the nodes, which are all there are yet. */
export async function createPods(
  server: ApiServer,
  { count, spaces, nodes }: { count: number; spaces: string[]; nodes: readonly NodeAddress[] },
) {
  const { client } = server;
  for (const name of spaces) await client.create(namespaces, { metadata: { name, labels: { 'podferry.io/enabled': 'true' } } });
  const bare = Array.from({ length: count / 2 }, (_, index) => index);
  await each(bare, (index) =>
    client.create(podResource, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `bare-${index}`, namespace: spaces[index % spaces.length] ?? '', labels: kept },
      spec: { ...podSpec(), nodeName: nodes[index % nodes.length]?.name ?? '' },
    } as Pod & { metadata: { name: string } }),
  );
  const replicas = 10;
  const sets = Array.from({ length: count / 2 / replicas }, (_, index) => index);
  await each(sets, (index) => {
    const labels = { ...kept, app: `set-${index}` };
    return client.create(replicaSets, {
      metadata: { name: `set-${index}`, namespace: spaces[index % spaces.length] ?? '' },
      spec: { replicas, selector: { matchLabels: { app: labels.app } }, template: { metadata: { labels }, spec: podSpec() } },
    } as never);
  });
  return eventually(() => allRun(server, count), 300_000);
}

function podSpec() {
  return { containers: [{ name: 'app', image, resources: { requests: { cpu: '100m', memory: '64Mi' } } }] };
}

/** The covered pods, whatever they do. */
export async function covered({ client }: ApiServer): Promise<(Pod & KubeObject)[]> {
  return (await client.list(podResource, { labelSelector: 'state=kept' })).items;
}

/** The covered pods. @throws Error unless so many run */
async function allRun(server: ApiServer, count: number): Promise<Pod[]> {
  const all = await covered(server);
  const ready = all.filter((pod) => isReady(pod) && !pod.metadata.deletionTimestamp);
  if (ready.length !== count || all.length !== count) throw new Error(`${ready.length} of ${all.length} pods run, not ${count}`);
  return ready;
}

export async function agentsReady({ client }: ApiServer, count: number): Promise<void> {
  await eventually(async () => {
    const { items } = await client.list(podResource, { namespace: podferryNamespace });
    const ready = items.filter(isReady).length;
    if (ready < count) throw new Error(`${ready} of ${count} agents are ready`);
  }, 60_000);
}

export async function createPolicy({ client }: ApiServer, limits: Limits): Promise<void> {
  await client.create(migrationPolicies, {
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'MigrationPolicy',
    metadata: { name: policyName },
    spec: { podSelector: { matchLabels: kept }, limits } as never,
  });
}

export async function cordon({ client }: ApiServer, nodes: readonly NodeAddress[]): Promise<void> {
  await each(nodes, ({ name }) => client.patch(nodeResource, { name }, { type: 'merge', body: { spec: { unschedulable: true } } }));
}
