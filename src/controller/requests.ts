import type { Migration } from '../api/migration.ts';
import { apiVersion, autoDestination, internalAnnotations, userAnnotations } from '../api/names.ts';
import type { Pod } from '../api/pod.ts';
import { shortHash, withSuffix } from '../plan/hash.ts';

/**
 * The Migration that a pod annotated with `migrate-to` asks for, or undefined when it asks for none. Its name follows
 * from the admission request that allowed it, so that one request makes one Migration however often this is looked at.
 */
export function requestedMigration(pod: Pod): Migration | undefined {
  const destination = pod.metadata.annotations?.[userAnnotations.migrateTo];
  const request = pod.metadata.annotations?.[internalAnnotations.request];
  // Without the mark of the webhook nobody has checked whether the one who asked may.
  if (!destination || !request || pod.metadata.deletionTimestamp) return undefined;
  return {
    apiVersion,
    kind: 'Migration',
    metadata: {
      namespace: pod.metadata.namespace ?? '',
      name: withSuffix(pod.metadata.name, shortHash(request, 6)),
      annotations: { [internalAnnotations.request]: request },
    },
    spec: {
      pod: pod.metadata.name,
      ...(destination === autoDestination ? {} : { destination: { nodeName: destination } }),
      ttlSecondsAfterFinished: 24 * 3600,
    },
  };
}
