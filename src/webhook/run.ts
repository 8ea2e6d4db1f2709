import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Histogram } from 'prom-client';
import { isFinished } from '../api/migration.ts';
import { group, secretNames } from '../api/names.ts';
import { reasons } from '../api/reasons.ts';
import { mayCreate } from '../kube/access-review.ts';
import { KubeClient } from '../kube/client.ts';
import { loadConfig } from '../kube/config.ts';
import { KubeError } from '../kube/errors.ts';
import { EventRecorder } from '../kube/events.ts';
import { Informer } from '../kube/informer.ts';
import { type Migration, migrationPolicies, migrations, namespaces, nodes, pods, volumeClaims, volumes } from '../kube/resources.ts';
import { watchTlsSecret } from '../kube/tls-secret.ts';
import { keyOf } from '../kube/types.ts';
import { Changes } from '../util/changes.ts';
import { messageOf } from '../util/errors.ts';
import { newMetrics, serveProbes } from '../util/probes.ts';
import type { EvictionPorts } from './evictions.ts';
import type { WebhookPorts } from './ports.ts';
import { webhookApp, webhookServer } from './server.ts';

export interface WebhookProcessOptions {
  /** podferry's own namespace. */
  namespace: string;
  /** Unique among the replicas: the pod's name. */
  identity: string;
  port: number;
  probesPort: number;
  /** Time for an answer; below the timeoutSeconds of the webhook configuration. Milliseconds. */
  deadline: number;
}

/** Migrations by the pods they name or made, as `namespace/name`. */
const podIndex = 'pod';

/**
 * Between "not ready" and closing: API servers learn late that an endpoint is gone (kubernetes/kubernetes#127335), and a
 * connection that is closed under a request makes that fail for good (an eviction, and with it the drain). All that are in use
 * (kubectl drain asks every five seconds) have been closed with an answer by then; the others are closed half-way between two of its
 * tries, which count from the moment when it evicted this pod as well. Milliseconds.
 */
const lameDuck = 12_500;

/** Runs the webhook until the signal aborts. */
export async function runWebhook(options: WebhookProcessOptions, log: Logger, signal: AbortSignal): Promise<void> {
  const { namespace } = options;
  const client = new KubeClient(loadConfig(), { userAgent: 'podferry-webhook' });
  const onError = (error: unknown) => log.warn({ error: messageOf(error) }, 'watching the cluster');
  const informer = new Informer(client, migrations, {
    onError,
    indexers: {
      [podIndex]: ({ metadata, spec, status }) => [
        ...new Set([spec.pod, status?.target?.name].flatMap((pod) => (pod ? [`${metadata.namespace}/${pod}`] : []))),
      ],
    },
  });
  const policies = new Informer(client, migrationPolicies, { onError });
  const spaces = new Informer(client, namespaces, { onError });
  const caches = [informer, policies, spaces];
  const recorder = new EventRecorder(client, { controller: `${group}/webhook`, instance: options.identity, onError });
  const changes = new Changes();
  const changed = (migration: Migration) => changes.notify(keyOf(migration));
  informer.addHandlers({ add: changed, update: changed, delete: changed });

  const ports: WebhookPorts = {
    mayMigrate: (user, ns, stop) => mayCreate(client, user, { group, resource: 'migrations', namespace: ns }, { signal: stop }),
    activeMigrations: (ns) => informer.list(ns).filter((migration) => !isFinished(migration)),
    getMigration: (ns, name, stop) => client.find(migrations, { namespace: ns, name }, { signal: stop }),
    async createMigration(migration, stop) {
      try {
        return await client.create(migrations, migration, { signal: stop });
      } catch (error) {
        if (!(error instanceof KubeError && error.isAlreadyExists)) throw error;
        return client.get(migrations, { namespace: migration.metadata.namespace, name: migration.metadata.name }, { signal: stop });
      }
    },
    getPod: (ns, name, stop) => client.find(pods, { namespace: ns, name }, { signal: stop }),
    getVolumeClaim: (ns, name, stop) => client.find(volumeClaims, { namespace: ns, name }, { signal: stop }),
    getVolume: (name, stop) => client.find(volumes, { name }, { signal: stop }),
    policies: () => policies.list(),
    namespaceLabels: (ns) => spaces.get(ns)?.metadata.labels,
    nextChange: (ns, name, limit, stop) => changes.next(`${ns}/${name}`, limit, stop),
    controllerUser: `system:serviceaccount:${namespace}:podferry-controller`,
  };

  const evictions: EvictionPorts = {
    now: () => Date.now(),
    policies: ports.policies,
    namespaceLabels: ports.namespaceLabels,
    migrationsOf: (ns, name) => informer.byIndex(podIndex, `${ns}/${name}`),
    getPod: ports.getPod,
    isCordoned: async (name, stop) => (await client.find(nodes, { name }, { signal: stop }))?.spec?.unschedulable === true,
    createMigration: ports.createMigration,
    lost: (pod, why) =>
      recorder.record(
        { ...pod, apiVersion: 'v1', kind: 'Pod' },
        { type: 'Warning', reason: reasons.evictedWithoutState, message: `evicted without its memory: ${why}` },
      ),
  };

  const metrics = newMetrics();
  const reviews = new Histogram({
    name: 'podferry_reviews_seconds',
    help: 'Time of the answers to admission requests.',
    labelNames: ['operation', 'outcome'],
    registers: [metrics],
  });
  const app = webhookApp({
    ports,
    evictions,
    deadline: options.deadline,
    log,
    ending: () => signal.aborted,
    onReview: (operation, outcome, seconds) => reviews.observe({ operation, outcome }, seconds),
  });
  let server: ReturnType<typeof webhookServer> | undefined;
  const probes = await serveProbes(options.probesPort, undefined, metrics, {
    stopping: () => (signal.aborted ? 'this replica is ending' : undefined),
    certificate: () => (server?.listening ? undefined : `waiting for Secret ${namespace}/${secretNames.webhook} (the controller makes it)`),
    cache: () => (caches.every(({ hasSynced }) => hasSynced) ? undefined : 'Migrations, policies and namespaces are not read yet'),
  });
  const certificate = watchTlsSecret(client, namespace, secretNames.webhook, (material) => server?.setSecureContext(material), onError);
  for (const cache of caches) cache.start();
  await Promise.all(caches.map((cache) => cache.waitForSync(signal)));
  const tls = await certificate.ready(signal);
  server = webhookServer(app, certificate.current ?? tls);
  server.listen(options.port);
  await once(server, 'listening');
  log.info({ port: options.port }, 'the webhook is ready');

  if (!signal.aborted) await once(signal, 'abort');
  log.info('ending; requests are still answered for a while');
  await sleep(lameDuck);
  server.close();
  server.closeIdleConnections();
  await Promise.race([once(server, 'close'), sleep(options.deadline)]);
  server.closeAllConnections();
  await Promise.all([certificate.stop(), ...caches.map((cache) => cache.stop()), probes.close(), recorder.stop()]);
  await client.close();
}
