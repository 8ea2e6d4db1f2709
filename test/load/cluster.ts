import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../src/kube/types.ts';
import { findBinaries } from '../integration/binaries.ts';
import { type ApiServer, startApiServer } from '../integration/harness.ts';
import { quietPort, type Service } from '../integration/service.ts';
import type { NodeAddress } from './nodes/agent.ts';
import type { NodeSettings } from './nodes/main.ts';
import { timings } from './timings.ts';

const run = promisify(execFile);
const project = join(import.meta.dirname, '../..');

/** podferry's namespace. */
export const podferryNamespace = 'podferry-system';
const account = (name: string) => `system:serviceaccount:${podferryNamespace}:podferry-${name}`;

/** Whose requests are counted. */
export const podferryUsers = { controller: account('controller'), webhook: account('webhook') };

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - { level: Metadata, users: ["${podferryUsers.controller}", "${podferryUsers.webhook}"] }
  - { level: None }
`;

export interface Podferry {
  identity: string;
  service: Service;
  probes: number;
}

/** What runs beside the API server. */
export interface Cluster {
  server: ApiServer;
  controllers: Podferry[];
  webhook: Podferry;
  nodes: NodeAddress[];
  audit: string;
}

/** The real control plane, podferry's real processes with its manifests, and `count` nodes whose kubelets and agents are not real. */
export async function startCluster(count: number, say: (text: string) => void): Promise<Cluster> {
  await run('npm', ['run', '--silent', 'build'], { cwd: project });
  const binaries = await findBinaries();
  const server = await startApiServer({
    files: { 'audit.yaml': auditPolicy },
    arguments: (directory) => [
      `--audit-policy-file=${join(directory, 'audit.yaml')}`,
      `--audit-log-path=${join(directory, 'audit.log')}`,
      // In one file, however long.
      '--audit-log-maxsize=10000',
      // What the kubelet and the runtime check is not checked here; admission and scheduling are the real ones.
      '--enable-admission-plugins=NodeRestriction',
    ],
  });
  try {
    say('the API server is ready');
    const webhookPort = await quietPort();
    await applyManifests(server, binaries.directory, webhookPort);
    await startControlPlane(server, binaries.directory);
    const agentPort = await quietPort();
    const controllers = await Promise.all(
      ['one', 'two'].map((name) => startPodferry(server, 'controller', name, ['--agent-port', `${agentPort}`])),
    );
    const webhook = await startPodferry(server, 'webhook', 'one', ['--port', `${webhookPort}`]);
    const nodes = addresses(count);
    await startNodes(server, nodes, agentPort);
    return { server, controllers, webhook, nodes, audit: join(server.directory, 'audit.log') };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** As `kubectl apply -k` would, but for what has pods; the webhook's Service leads to the loopback. */
async function applyManifests(server: ApiServer, directory: string, webhookPort: number): Promise<void> {
  const { stdout } = await run(join(directory, 'kubectl'), ['kustomize', join(project, 'manifests/overlays/default')], {
    maxBuffer: 1 << 24,
  });
  const objects = parseAllDocuments(stdout).map((document) => document.toJS() as KubeObject & { webhooks?: Hook[] });
  const withPods = new Set(['Deployment', 'DaemonSet', 'Service']);
  for (const object of objects.filter(({ kind = '' }) => !withPods.has(kind))) {
    for (const { clientConfig } of object.webhooks ?? []) clientConfig.service.port = webhookPort;
    await server.apply(object);
    if (object.kind === 'CustomResourceDefinition') await server.waitForCrd(object.metadata.name);
  }
  await server.apply({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'podferry-webhook', namespace: podferryNamespace },
    spec: { type: 'ExternalName', externalName: 'localhost' },
  } as KubeObject);
}

interface Hook {
  clientConfig: { service: { port?: number } };
}

async function startControlPlane(server: ApiServer, directory: string): Promise<void> {
  const manager = await server.kubeconfigFor('system:kube-controller-manager');
  const scheduler = await server.kubeconfigFor('system:kube-scheduler');
  server
    .program('kube-controller-manager', join(directory, 'kube-controller-manager'), [
      `--kubeconfig=${manager}`,
      '--leader-elect=false',
      '--secure-port=0',
      '--use-service-account-credentials',
      '--controllers=replicaset-controller,node-lifecycle-controller,disruption-controller',
      // All kubelets are one process here, which a busy machine may hold up; nodes that are lost are another test's subject.
      '--node-monitor-grace-period=300s',
      '--kube-api-qps=100',
      '--kube-api-burst=200',
    ])
    .start();
  server
    .program('kube-scheduler', join(directory, 'kube-scheduler'), [`--kubeconfig=${scheduler}`, '--leader-elect=false', '--secure-port=0'])
    .start();
}

/** One replica, with the rights that the manifests give it. */
async function startPodferry(server: ApiServer, component: 'controller' | 'webhook', name: string, more: string[]): Promise<Podferry> {
  const groups = ['system:serviceaccounts', `system:serviceaccounts:${podferryNamespace}`];
  const kubeconfig = await server.kubeconfigFor(podferryUsers[component], groups);
  const probes = await quietPort();
  const identity = `${component}-${name}`;
  const service = server.program(
    identity,
    process.execPath,
    [
      join(project, 'dist/main.js'),
      component,
      '--namespace',
      podferryNamespace,
      '--identity',
      identity,
      '--probes-port',
      `${probes}`,
      ...more,
    ],
    // The heap that Node.js takes in a container with the manifests' limit of 512 MiB: half of it.
    { KUBECONFIG: kubeconfig, NODE_OPTIONS: '--max-old-space-size=256' },
  );
  service.start();
  return { identity, service, probes };
}

/** Each node its own address of the loopback, in a corner that hardly anybody else uses. */
function addresses(count: number): NodeAddress[] {
  const corner = randomInt(10, 250);
  return Array.from({ length: count }, (_, index) => ({
    name: `node-${String(index + 1).padStart(3, '0')}`,
    address: `127.${corner}.${Math.floor(index / 250)}.${(index % 250) + 1}`,
  }));
}

async function startNodes(server: ApiServer, nodes: NodeAddress[], port: number): Promise<void> {
  const directory = join(server.directory, 'archives');
  await mkdir(directory);
  const settings: NodeSettings = { nodes, port, namespace: podferryNamespace, directory, timings };
  const file = join(server.directory, 'nodes.json');
  await writeFile(file, JSON.stringify(settings));
  const kubeconfig = await server.kubeconfigFor('fake-nodes', ['system:masters']);
  server
    .program('nodes', process.execPath, [join(import.meta.dirname, 'nodes/main.ts'), file], { KUBECONFIG: kubeconfig, NODE_OPTIONS: '' })
    .start();
}
