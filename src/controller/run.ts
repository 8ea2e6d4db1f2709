import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Logger } from 'pino';
import { hasBegun, isFinished } from '../api/migration.ts';
import { group, secretNames } from '../api/names.ts';
import { isReady } from '../api/pod.ts';
import { keepCertificates } from '../kube/certificate-keeper.ts';
import { KubeClient } from '../kube/client.ts';
import { loadConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import { LeaderElection } from '../kube/leader-election.ts';
import { type Migration, migrations, type Pod, pods } from '../kube/resources.ts';
import { watchTlsSecret } from '../kube/tls-secret.ts';
import { keyOf } from '../kube/types.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import type { Settings } from '../plan/migration/index.ts';
import { messageOf } from '../util/errors.ts';
import { newMetrics, serveProbes } from '../util/probes.ts';
import { actor } from './act.ts';
import { Agents } from './agents.ts';
import { enabledLabels, indexes, openCaches } from './caches.ts';
import { clusterOf } from './cluster.ts';
import { Cpus } from './cpus.ts';
import { measuresOf } from './measures.ts';
import { observer } from './observe.ts';
import { policyWork } from './policies.ts';
import { previewWork } from './preview-work.ts';
import { Reconciler } from './reconciler.ts';
import { requestedMigration } from './requests.ts';
import { sweep } from './sweeper.ts';

export interface ControllerOptions {
  /** podferry's own namespace. */
  namespace: string;
  /** Unique among the replicas: the pod's name. */
  identity: string;
  probesPort: number;
  /** Port of the agents. */
  agentPort: number;
  settings: Settings;
  /** Migrations worked on at the same time. */
  concurrency: number;
}

/** What one call to an agent may take. Milliseconds. */
const agentDeadline = 10_000;

/** How long work under way may go on when leading ends. Milliseconds. */
const drainGrace = 2000;

/**
 * What changes of a pod that is restored comes in bursts, and each look takes something from the nodes while its processes stand still;
 * that they run is told by the agent, at once. Milliseconds.
 */
const restoringPause = 250;

/** Runs the controller until the signal aborts: every replica keeps the certificates, the leader moves pods. */
export async function runController(options: ControllerOptions, log: Logger, signal: AbortSignal): Promise<void> {
  const { namespace, settings } = options;
  const client = new KubeClient(loadConfig(), { userAgent: 'podferry-controller' });
  const onError = (error: unknown) => log.warn({ error: messageOf(error) }, 'watching the cluster');
  const informers = openCaches(client, onError);
  const agentOn = (nodeName: string) =>
    informers.pods.byIndex(indexes.node, nodeName).find((agent) => agent.metadata.namespace === namespace && isReady(agent));
  const agents = new Agents({
    deadline: agentDeadline,
    addressOf: (nodeName) => {
      const pod = agentOn(nodeName);
      return pod?.status?.podIP && `${hostOf(pod.status.podIP)}:${options.agentPort}`;
    },
  });
  const nodesWithAgents = () =>
    informers.nodes
      .list()
      .map(({ metadata }) => metadata.name)
      .filter((name) => agents.addressOf(name));
  const certificate = watchTlsSecret(client, namespace, secretNames.controller, (material) => agents.setTls(material), onError);
  const recorder = new EventRecorder(client, { controller: `${group}/controller`, instance: options.identity, onError });
  const election = new LeaderElection(client, {
    namespace,
    name: 'podferry-controller',
    identity: `${options.identity}_${randomBytes(4).toString('hex')}`,
    onError,
    onHolder: (holder) => log.info({ holder }, 'leader'),
  });
  const metrics = newMetrics();
  const measures = measuresOf(metrics, informers.migrations);
  const probes = await serveProbes(options.probesPort, undefined, metrics, {
    caches: () => {
      const missing = Object.entries(informers).flatMap(([name, informer]) => (informer.hasSynced ? [] : [name]));
      return missing.length ? `not filled yet: ${missing.join(', ')}` : undefined;
    },
  });

  const certificates = keepCertificates(
    client,
    {
      namespace,
      webhookConfigurations: { mutating: ['podferry'], validating: ['podferry'] },
      onRound: ({ written }, bundle) => {
        if (written.length || bundle.written.length)
          log.info({ secrets: written, configurations: bundle.written }, 'certificates were renewed');
      },
      onError: (error) => log.error({ error: messageOf(error) }, 'the certificates could not be seen to; tried again'),
    },
    signal,
  );
  for (const informer of Object.values(informers)) informer.start();
  await Promise.all([...Object.values(informers).map((informer) => informer.waitForSync(signal)), certificate.ready(signal)]);

  const lead = async (leading: AbortSignal) => {
    log.info('this replica leads');
    const queue: WorkQueue = new WorkQueue((key, stop) => measured(key, stop), {
      concurrency: options.concurrency,
      maximumDelay: 15_000,
      // Many may wait, or have ended; those under way are frozen on a lease, and those whose turn it is hold a place.
      first: (key) => {
        const [ns = '', name = ''] = key.split('/');
        const migration = informers.migrations.get(name, ns);
        if (!migration || isFinished(migration)) return false;
        return hasBegun(migration) || policies.admissions.mayBegin(migration.metadata.uid ?? '');
      },
      onError: (key, error, retryAfter) => {
        measures.failures.inc();
        log.warn({ migration: key, error: messageOf(error), retryAfter: Math.round(retryAfter) }, 'a step failed; it is tried again');
      },
    });
    const cluster = clusterOf(client);
    const getMigration = (ns: string, name: string, stop: AbortSignal) =>
      client.find(migrations, { namespace: ns, name }, { signal: stop });
    const policies = policyWork(informers, client, cluster, (migration) => queue.add(keyOf(migration)), measures, log);
    const previews = previewWork(informers, client, log);
    const cpus = new Cpus({
      nodes: nodesWithAgents,
      agentOf: (nodeName) => {
        const agent = agentOn(nodeName);
        // It has become Ready anew after every start.
        return agent && `${agent.metadata.uid}/${agent.status?.conditions?.find(({ type }) => type === 'Ready')?.lastTransitionTime}`;
      },
      ask: (nodeName, stop) => agents.cpu(nodeName, stop),
      now: () => Date.now(),
    });
    const reconciler = new Reconciler({
      getMigration,
      observe: observer({
        getPod: (ns, name, stop) => client.find(pods, { namespace: ns, name }, { signal: stop }),
        node: (name) => informers.nodes.get(name),
        namespace: (name) => {
          const { deletionTimestamp } = informers.namespaces.get(name)?.metadata ?? {};
          return { enabled: enabledLabels(informers, name) !== undefined, terminating: deletionTimestamp !== undefined };
        },
        getOwner: cluster.getOwner,
        podsOf: cluster.podsOf,
        getMigration,
        budgetsOf: policies.budgetsOf,
        admissions: policies.admissions,
        agents,
        cpus,
        settings,
        now: () => Date.now(),
      }),
      writeStatus: (migration, status, stop) =>
        client.replace(migrations, { ...migration, status }, { subresource: 'status', signal: stop }),
      act: actor(cluster, agents),
      agents,
      event: (migration, { pod, ...note }) => {
        const { namespace: ns } = migration.metadata;
        recorder.record(pod ? { apiVersion: 'v1', kind: 'Pod', metadata: { ...pod, ...(ns ? { namespace: ns } : {}) } } : migration, note);
      },
      enqueue: (key, after = 0) => queue.addAfter(key, after),
      now: () => Date.now(),
      log,
    });
    const measured = async (key: string, stop: AbortSignal) => {
      const end = measures.reconcile.startTimer();
      try {
        await reconciler.reconcile(key, stop);
      } finally {
        end();
      }
    };
    const requests = new WorkQueue((key, stop) => makeRequested(key, stop), {
      onError: (key, error) =>
        log.warn({ pod: key, error: messageOf(error) }, 'a Migration that a pod asks for could not be made; tried again'),
    });
    const makeRequested = async (key: string, stop: AbortSignal) => {
      const [ns = '', name = ''] = key.split('/');
      const pod = informers.pods.get(name, ns);
      const wanted = pod && requestedMigration(pod);
      if (!wanted || informers.migrations.get(wanted.metadata.name, ns)) return;
      await cluster.createMigration(wanted, stop);
      log.info({ migration: keyOf(wanted), pod: key }, 'made as the pod asks');
    };
    const concerned = (pod: Pod) => {
      for (const migration of informers.migrations.byIndex(indexes.pod, keyOf(pod)))
        queue.addAfter(keyOf(migration), migration.status?.phase === 'Restoring' ? restoringPause : 0);
    };
    const asked = (pod: Pod) => {
      concerned(pod);
      if (requestedMigration(pod)) requests.add(keyOf(pod));
    };
    const look = (migration: Migration) => queue.add(keyOf(migration));
    const changed = (migration: Migration) => {
      if (!reconciler.wrote(migration)) look(migration);
    };
    const gone = (migration: Migration) => {
      reconciler.forget(keyOf(migration));
      look(migration);
    };
    const off = [
      informers.migrations.addHandlers({ add: look, update: changed, delete: gone }),
      informers.pods.addHandlers({ add: asked, update: asked, delete: concerned }),
    ];
    queue.start();
    requests.start();
    policies.start();
    previews.start();
    const following = cpus.follow(leading);
    const sweeping = sweep(
      {
        agents,
        nodes: nodesWithAgents,
        standingOf: (uid) => {
          const [migration] = informers.migrations.byIndex(indexes.uid, uid);
          return migration && (isFinished(migration) ? 'finished' : 'active');
        },
        log,
      },
      leading,
    );
    if (!leading.aborted) await once(leading, 'abort');
    for (const remove of off) remove();
    reconciler.stop();
    // Whoever leads next must not find this one still acting: no grace when the lease is lost.
    const grace = signal.aborted ? drainGrace : 0;
    await Promise.all([queue.drain(grace), requests.drain(grace), policies.stop(grace), previews.stop(grace), sweeping, following]);
    log.info('this replica no longer leads');
  };
  await election.run(lead, signal);

  await recorder.stop();
  await Promise.all([certificates, certificate.stop(), ...Object.values(informers).map((informer) => informer.stop())]);
  await Promise.all([agents.close(), probes.close(), client.close()]);
}

function hostOf(ip: string): string {
  return ip.includes(':') ? `[${ip}]` : ip;
}
