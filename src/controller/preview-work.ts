import type { Logger } from 'pino';
import type { KubeClient } from '../kube/client.ts';
import { KubeError } from '../kube/errors.ts';
import { Informer } from '../kube/informer.ts';
import { type MigrationPreview, migrationPolicies, migrationPreviews, nodes, pods } from '../kube/resources.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import { messageOf } from '../util/errors.ts';
import { type Caches, enabledLabels } from './caches.ts';
import { keepPreview, type PreviewPorts } from './previews.ts';

/** What of the controller's caches previews look at. */
type Seen = Pick<Caches, 'migrations' | 'budgets' | 'namespaces' | 'pods'>;

/** What the leader does for MigrationPreviews. They are followed only while it leads: nothing else waits for them. */
export function previewWork(caches: Seen, client: KubeClient, log: Logger) {
  const ports: PreviewPorts = {
    now: () => Date.now(),
    getPreview: (name, signal) => client.find(migrationPreviews, { name }, { signal }),
    getNode: (name, signal) => client.find(nodes, { name }, { signal }),
    podsOn: async (nodeName, signal) => (await client.list(pods, { fieldSelector: `spec.nodeName=${nodeName}`, signal })).items,
    policies: async (signal) => (await client.list(migrationPolicies, { signal })).items,
    migrations: () => caches.migrations.list(),
    budgets: () => caches.budgets.list(),
    namespaceLabels: (name) => enabledLabels(caches, name),
    nodeOf: (namespace, name) => caches.pods.get(name, namespace)?.spec.nodeName,
    async writeStatus(preview, status, signal) {
      await client.replace(migrationPreviews, { ...preview, status }, { subresource: 'status', signal });
    },
    async remove({ metadata: { name, uid } }, signal) {
      try {
        await client.delete(migrationPreviews, { name }, { preconditions: { uid }, signal });
      } catch (error) {
        // It is gone, or another one of its name, which is looked at by itself.
        if (!(error instanceof KubeError && (error.isNotFound || error.isConflict))) throw error;
      }
    },
    lookAgain: (name, after) => queue.addAfter(name, after),
    log,
  };
  const queue: WorkQueue = new WorkQueue((name, signal) => keepPreview(ports, name, signal), {
    onError: (name, error) => log.warn({ preview: name, error: messageOf(error) }, 'a preview could not be seen to; tried again'),
  });
  const informer = new Informer(client, migrationPreviews, {
    onError: (error) => log.warn({ error: messageOf(error) }, 'watching previews'),
  });
  const changed = ({ metadata }: MigrationPreview) => queue.add(metadata.name);
  informer.addHandlers({ add: changed, update: changed });
  return {
    start(): void {
      informer.start();
      queue.start();
    },
    /** @param grace how long work under way may go on; milliseconds */
    async stop(grace: number): Promise<void> {
      await Promise.all([informer.stop(), queue.drain(grace)]);
    },
  };
}
