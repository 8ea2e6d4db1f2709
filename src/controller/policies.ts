import type { Logger } from 'pino';
import type { KubeClient } from '../kube/client.ts';
import { type Migration, type Node, type Pod, pods } from '../kube/resources.ts';
import { keyOf } from '../kube/types.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import { budgetsOf, disruptionsAllowed } from '../plan/policy/budgets.ts';
import { messageOf } from '../util/errors.ts';
import { Admissions } from './admissions.ts';
import { type Caches, enabledLabels, indexes } from './caches.ts';
import type { Cluster } from './cluster.ts';
import type { Measures } from './measures.ts';
import { lookAtNode, type NodeTriggerPorts } from './node-triggers.ts';

/** How often a node from which policies move pods is looked at: for pods that were not ready, or arrive. Milliseconds. */
const nodeRound = 30_000;

/** How long changes are gathered before the queue is looked at. Milliseconds. */
const queueDelay = 50;

export interface PolicyWork {
  admissions: Admissions;
  /** Budgets that count the pod, as `namespace/name`. */
  budgetsOf(pod: Pod): string[];
  start(): void;
  /** @param grace how long work under way may go on; milliseconds */
  stop(grace: number): Promise<void>;
}

/**
 * What the leader does for MigrationPolicies: lets migrations begin as limits allow, and makes those that nodes ask for.
 *
 * @param wake has a Migration looked at again
 */
export function policyWork(
  caches: Caches,
  client: KubeClient,
  cluster: Cluster,
  wake: (migration: Migration) => void,
  measures: Measures,
  log: Logger,
): PolicyWork {
  const admissions = new Admissions({
    migrations: () => caches.migrations.list(),
    migration: (uid) => caches.migrations.byIndex(indexes.uid, uid)[0],
    migrationsTo: (nodeName) => caches.migrations.byIndex(indexes.target, nodeName),
    nodeOf: (namespace, name) => caches.pods.get(name, namespace)?.spec.nodeName,
    limits: (policy) => caches.policies.get(policy)?.spec.limits,
    disruptionsAllowed: (budget) => {
      const [namespace = '', name = ''] = budget.split('/');
      return disruptionsAllowed(caches.budgets.get(name, namespace));
    },
    wake,
    now: () => performance.now(),
    onReckoned: (took) => measures.queue.observe(took / 1000),
  });
  const triggers: NodeTriggerPorts = {
    node: (name) => caches.nodes.get(name),
    policies: () => caches.policies.list(),
    namespaceLabels: (name) => enabledLabels(caches, name),
    migrationsOf: (pod) => caches.migrations.byIndex(indexes.pod, keyOf(pod)),
    migrationsFrom: (nodeName) =>
      caches.migrations.list().filter(({ metadata, spec }) => caches.pods.get(spec.pod, metadata.namespace)?.spec.nodeName === nodeName),
    podsOn: async (nodeName, signal) => (await client.list(pods, { fieldSelector: `spec.nodeName=${nodeName}`, signal })).items,
    createMigration: (migration, signal) => cluster.createMigration(migration, signal),
    withdrawMigration: (migration, signal) => cluster.withdrawMigration(migration, signal),
    lookAgain: (name) => looks.addAfter(name, nodeRound),
    log,
  };
  const looks: WorkQueue = new WorkQueue((name, signal) => lookAtNode(triggers, name, signal), {
    onError: (name, error) =>
      log.warn({ node: name, error: messageOf(error) }, 'what policies ask of a node could not be done; tried again'),
  });
  const allNodes = () => {
    for (const { metadata } of caches.nodes.list()) looks.add(metadata.name);
  };
  // Many changes at once are one look at the queue.
  let looking: NodeJS.Timeout | undefined;
  const lookAtQueue = () => {
    looking ??= setTimeout(
      () => {
        looking = undefined;
        admissions.next();
      },
      Math.max(queueDelay, admissions.rest),
    );
  };
  const policyChanged = () => {
    lookAtQueue();
    allNodes();
  };
  let off: (() => void)[] = [];
  return {
    admissions,
    budgetsOf: (pod) => budgetsOf(pod, caches.budgets.list(pod.metadata.namespace)),
    start() {
      off = [
        caches.migrations.addHandlers({
          add: lookAtQueue,
          update: ({ status }, before) => {
            if (status?.phase === before.status?.phase) return;
            lookAtQueue();
            // A try that failed: the node may ask for another.
            if (status?.phase === 'Failed' && status.source) looks.add(status.source.nodeName);
          },
          delete: lookAtQueue,
        }),
        caches.policies.addHandlers({ add: policyChanged, update: policyChanged, delete: policyChanged }),
        caches.budgets.addHandlers({ update: lookAtQueue, delete: lookAtQueue }),
        caches.nodes.addHandlers({
          add: ({ metadata }) => looks.add(metadata.name),
          update: (node, before) => {
            if (saysOtherwise(node, before)) looks.add(node.metadata.name);
          },
        }),
      ];
      looks.start();
    },
    async stop(grace) {
      for (const remove of off) remove();
      clearTimeout(looking);
      await looks.drain(grace);
    },
  };
}

/** Whether what policies look at in a node has changed; its heartbeats have not. */
function saysOtherwise(node: Node, before: Node): boolean {
  const said = ({ spec, status }: Node) =>
    JSON.stringify([spec?.unschedulable, spec?.taints, status?.conditions?.map(({ type, status: holds }) => [type, holds])]);
  return said(node) !== said(before);
}
