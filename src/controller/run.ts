import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Logger } from 'pino';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { isFinished } from '../api/migration.ts';
import { group, labels, version } from '../api/names.ts';
import { isReady } from '../api/pod.ts';
import { keepCertificates } from '../kube/certificate-keeper.ts';
import { secretNames } from '../kube/certificates.ts';
import { KubeClient } from '../kube/client.ts';
import { loadConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import { Informer } from '../kube/informer.ts';
import { LeaderElection } from '../kube/leader-election.ts';
import { type Migration, migrations, namespaces, nodes, type Pod, pods } from '../kube/resources.ts';
import { watchTlsSecret } from '../kube/tls-secret.ts';
import { keyOf } from '../kube/types.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import type { Settings } from '../plan/migration/index.ts';
import { messageOf } from '../util/errors.ts';
import { newMetrics, serveProbes } from '../util/probes.ts';
import { actor } from './act.ts';
import { Agents } from './agents.ts';
import { clusterOf } from './cluster.ts';
import { observer } from './observe.ts';
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

const indexes = { pod: 'pod', node: 'node', uid: 'uid' } as const;

/** Runs the controller until the signal aborts: every replica keeps the certificates, the leader moves pods. */
export async function runController(options: ControllerOptions, log: Logger, signal: AbortSignal): Promise<void> {
  const { namespace, settings } = options;
  const client = new KubeClient(loadConfig(), { userAgent: 'podferry-controller' });
  const onError = (error: unknown) => log.warn({ error: messageOf(error) }, 'watching the cluster');
  const informers = {
    migrations: new Informer(client, migrations, {
      onError,
      indexers: { [indexes.pod]: podsOf, [indexes.uid]: ({ metadata }) => [metadata.uid ?? ''] },
    }),
    pods: new Informer(client, pods, { onError, transform: whatMatters, indexers: { [indexes.node]: agentNodeOf } }),
    nodes: new Informer(client, nodes, { onError }),
    namespaces: new Informer(client, namespaces, { onError }),
  };
  const agents = new Agents({
    deadline: agentDeadline,
    addressOf: (nodeName) => {
      const pod = informers.pods.byIndex(indexes.node, nodeName).find((agent) => agent.metadata.namespace === namespace && isReady(agent));
      return pod?.status?.podIP && `${hostOf(pod.status.podIP)}:${options.agentPort}`;
    },
  });
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
      webhookConfigurations: { mutating: ['podferry'], validating: [] },
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
      onError: (key, error, retryAfter) => {
        measures.failures.inc();
        log.warn({ migration: key, error: messageOf(error), retryAfter: Math.round(retryAfter) }, 'a step failed; it is tried again');
      },
    });
    const cluster = clusterOf(client);
    const getMigration = (ns: string, name: string, stop: AbortSignal) =>
      client.find(migrations, { namespace: ns, name }, { signal: stop });
    const reconciler = new Reconciler({
      getMigration,
      observe: observer({
        getPod: (ns, name, stop) => client.find(pods, { namespace: ns, name }, { signal: stop }),
        node: (name) => informers.nodes.get(name),
        namespace: (name) => {
          const { labels: given, deletionTimestamp } = informers.namespaces.get(name)?.metadata ?? {};
          return { enabled: given?.[labels.enabled] === 'true', terminating: deletionTimestamp !== undefined };
        },
        ownerExists: cluster.ownerExists,
        getMigration,
        agents,
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
      for (const migration of informers.migrations.byIndex(indexes.pod, keyOf(pod))) queue.add(keyOf(migration));
    };
    const asked = (pod: Pod) => {
      concerned(pod);
      if (requestedMigration(pod)) requests.add(keyOf(pod));
    };
    const migrationChanged = (migration: Migration) => queue.add(keyOf(migration));
    const off = [
      informers.migrations.addHandlers({ add: migrationChanged, update: migrationChanged, delete: migrationChanged }),
      informers.pods.addHandlers({ add: asked, update: asked, delete: concerned }),
    ];
    queue.start();
    requests.start();
    const sweeping = sweep(
      {
        agents,
        nodes: () =>
          informers.nodes
            .list()
            .map(({ metadata }) => metadata.name)
            .filter((name) => agents.addressOf(name)),
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
    await Promise.all([queue.drain(grace), requests.drain(grace), sweeping]);
    log.info('this replica no longer leads');
  };
  await election.run(lead, signal);

  await recorder.stop();
  await Promise.all([certificates, certificate.stop(), ...Object.values(informers).map((informer) => informer.stop())]);
  await Promise.all([agents.close(), probes.close(), client.close()]);
}

/** The pods that a Migration looks at, as `namespace/name`. */
function podsOf({ metadata, spec, status }: Migration): string[] {
  const names = [spec.pod, status?.target?.name, status?.placeholder].filter((name) => name !== undefined);
  return [...new Set(names)].map((name) => `${metadata.namespace}/${name}`);
}

/** The node of an agent's pod; none for all other pods. */
function agentNodeOf(pod: Pod): string[] {
  const isAgent = pod.metadata.labels?.[labels.component] === 'agent' && pod.metadata.labels['podferry.io/app'] === 'podferry';
  return isAgent && pod.spec.nodeName ? [pod.spec.nodeName] : [];
}

/** Of all pods of the cluster only what wakes a migration up or finds an agent is kept; decisions read pods afresh. */
function whatMatters(pod: Pod): Pod {
  const { name, namespace, uid, resourceVersion, annotations, deletionTimestamp, labels: podLabels } = pod.metadata;
  const own = Object.entries(annotations ?? {}).filter(([key]) => key.startsWith(`${group}/`));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      ...(namespace ? { namespace } : {}),
      ...(uid ? { uid } : {}),
      ...(resourceVersion ? { resourceVersion } : {}),
      ...(deletionTimestamp ? { deletionTimestamp } : {}),
      ...(podLabels?.[labels.component] ? { labels: podLabels } : {}),
      ...(own.length ? { annotations: Object.fromEntries(own) } : {}),
    },
    spec: { containers: [], ...(pod.spec.nodeName ? { nodeName: pod.spec.nodeName } : {}) },
    status: {
      ...(pod.status?.podIP ? { podIP: pod.status.podIP } : {}),
      conditions: pod.status?.conditions?.filter((condition) => condition.type === 'Ready') ?? [],
    },
  };
}

function hostOf(ip: string): string {
  return ip.includes(':') ? `[${ip}]` : ip;
}

function measuresOf(metrics: Registry, all: Informer<Migration>) {
  const gauge = new Gauge({
    name: 'podferry_migrations',
    help: 'Migrations by phase.',
    labelNames: ['phase'],
    registers: [metrics],
    collect() {
      this.reset();
      for (const migration of all.list()) this.inc({ phase: migration.status?.phase ?? 'Pending' });
    },
  });
  const active = new Gauge({
    name: 'podferry_migrations_active',
    help: 'Migrations that are not finished.',
    registers: [metrics],
    collect() {
      this.set(all.list().filter((migration) => !isFinished(migration)).length);
    },
  });
  return {
    gauge,
    active,
    reconcile: new Histogram({ name: 'podferry_reconcile_seconds', help: 'Time of one look at a Migration.', registers: [metrics] }),
    failures: new Counter({
      name: 'podferry_reconcile_failures_total',
      help: `Steps of ${group}/${version} Migrations that failed and are tried again.`,
      registers: [metrics],
    }),
  };
}
