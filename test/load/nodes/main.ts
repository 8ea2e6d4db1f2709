/**
 * `node test/load/nodes/main.ts SETTINGS.json`: the kubelets and agents of all nodes in one process, until it is killed. The
 * API server is that of KUBECONFIG.
 */
import { readFile } from 'node:fs/promises';
import { setInterval } from 'node:timers/promises';
import { secretNames } from '../../../src/api/names.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadConfig } from '../../../src/kube/config.ts';
import { leases } from '../../../src/kube/resources.ts';
import { microTime } from '../../../src/kube/time.ts';
import { watchTlsSecret } from '../../../src/kube/tls-secret.ts';
import { messageOf } from '../../../src/util/errors.ts';
import { newLogger } from '../../../src/util/log.ts';
import { type AgentSettings, FakeAgent, type NodeAddress } from './agent.ts';
import { FakeKubelets } from './kubelet.ts';

export interface NodeSettings extends AgentSettings {
  nodes: NodeAddress[];
  /** podferry's. */
  namespace: string;
}

/** As kubelets do. Milliseconds. */
const heartbeat = 10_000;

/** As agents do. Milliseconds. */
const sweepInterval = 30_000;

const settings = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as NodeSettings;
const log = newLogger('fake-nodes', 'info');
const onError = (error: unknown) => log.warn({ error: messageOf(error) });
const client = new KubeClient(loadConfig(), { userAgent: 'fake-nodes' });

const agents = new Map<string, FakeAgent>();
const byAddress = new Map<string, FakeAgent>();
for (const node of settings.nodes) {
  const agent = new FakeAgent(node, settings, (address) => byAddress.get(address), log);
  agents.set(node.name, agent);
  byAddress.set(`${node.address}:${settings.port}`, agent);
}

let lastAddress = 0;
new FakeKubelets(client, {
  agentOf: (nodeName) => agents.get(nodeName),
  addressOf: ({ metadata, spec }) => {
    const own = metadata.namespace === settings.namespace ? agents.get(spec.nodeName ?? '')?.node.address : undefined;
    const next = ++lastAddress;
    return own ?? `10.${(next >> 16) & 255}.${(next >> 8) & 255}.${next & 255}`;
  },
  timings: settings.timings,
  onError,
}).start();

const setAll = (tls: Parameters<FakeAgent['setTls']>[0]) => {
  for (const agent of agents.values()) agent.setTls(tls);
};
const certificate = watchTlsSecret(client, settings.namespace, secretNames.agent, setAll, onError);

void heartbeats();
void sweeps();
const tls = await certificate.ready(AbortSignal.timeout(60_000));
await Promise.all([...agents.values()].map((agent) => agent.start(tls)));
log.info({ agents: agents.size }, 'all agents listen');

async function heartbeats(): Promise<void> {
  const beat = () => Promise.all([...agents.keys()].map((name) => renew(name).catch(onError)));
  await beat();
  for await (const _tick of setInterval(heartbeat)) await beat();
}

async function renew(name: string): Promise<void> {
  const spec = { holderIdentity: name, leaseDurationSeconds: 40, renewTime: microTime(new Date()) };
  const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace: 'kube-node-lease' }, spec };
  const ref = { name, namespace: 'kube-node-lease' };
  await client.patch(leases, ref, { type: 'apply', body: lease, force: true }, { fieldManager: 'fake-nodes' });
}

async function sweeps(): Promise<void> {
  for await (const _tick of setInterval(sweepInterval)) {
    for (const { targets, runtime } of agents.values()) await targets.sweep(async (podUid) => runtime.knows(podUid)).catch(onError);
  }
}
