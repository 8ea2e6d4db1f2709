/**
 * Every name that podferry puts into the API: group, annotations, labels, finalizer. One place, so that the webhook,
 * the controller, the manifests and the tests cannot disagree.
 */

export const group = 'podferry.io';
export const version = 'v1alpha1';
export const apiVersion = `${group}/${version}`;

/** What people put on pods. */
export const userAnnotations = {
  /** On a running pod: `NODE` or `auto`; the pod moves. Taken off when the migration ends. */
  migrateTo: 'podferry.io/migrate-to',
  /** On a new pod: `POD` or `POD/CONTAINER`; the new pod continues that pod. */
  migrateFrom: 'podferry.io/migrate-from',
  /** On a new pod beside `migrate-from`: the node it goes to. */
  destination: 'podferry.io/destination',
} as const;

/** What podferry itself puts on pods; nobody else may (the webhook sees to it in namespaces that are enabled; elsewhere they mean nothing). */
export const internalAnnotations = {
  /** On a pod with `migrate-to`: the uid of the admission request that was allowed to ask for it. */
  request: 'podferry.io/request',
  /** On a pod that is being moved: `NAME/UID` of the one Migration that may do it; the API server gives it only once. */
  claim: 'podferry.io/claimed-by',
  /** On a target pod: the name of its Migration. */
  migration: 'podferry.io/migration',
  /** On a target pod: the uid of its Migration; says that the pod was rewritten by the webhook for just that one. */
  migrationUid: 'podferry.io/migration-uid',
  /** On a target pod: JSON object, container name → the image the owner asked for. */
  originalImages: 'podferry.io/original-images',
  /** On a target pod: JSON object, container name → its base image by digest, for the next migration. */
  baseImages: 'podferry.io/base-images',
  /** On a target pod: JSON array, the names of init containers that have done their work on the source. */
  completedInitContainers: 'podferry.io/completed-init-containers',
} as const;

/** What podferry notes on pods for people. Nothing is decided by it, so it may be copied, changed and removed by anybody. */
export const notes = {
  /** On a pod that was changed at its creation: JSON object, `policy` and `changed` (paths of fields). */
  prepared: 'podferry.io/prepared',
} as const;

/** What podferry puts on Migrations that a policy made. */
export const policyAnnotations = {
  /** What asked for it: `eviction`, `cordon`, `taint KEY`, `condition TYPE`. */
  trigger: 'podferry.io/trigger',
  /** Who asked for the eviction. */
  requestedBy: 'podferry.io/requested-by',
  /** The pod's priority (spec.priority), by which the queue is ordered. */
  priority: 'podferry.io/priority',
  /** uid of the pod; a later pod of that name is not what was asked for. */
  podUid: 'podferry.io/pod-uid',
} as const;

export const labels = {
  /** Namespace label that opts in: `"true"`. */
  enabled: 'podferry.io/enabled',
  /** On the placeholder pod and the released source pod: the name of the Migration (cut to 63 characters). */
  migration: 'podferry.io/migration',
  /** On podferry's helper pods: `placeholder`; on a source released from its owner: `source`. */
  role: 'podferry.io/role',
  /** On Migrations: the MigrationPolicy that made it. */
  policy: 'podferry.io/policy',
  managedBy: 'app.kubernetes.io/managed-by',
  name: 'app.kubernetes.io/name',
  component: 'app.kubernetes.io/component',
} as const;

export const roles = { placeholder: 'placeholder', source: 'source' } as const;

/** On Migrations: nothing of a migration may be left on nodes when its object goes. */
export const finalizer = 'podferry.io/migration';

/** The value of `migrate-to` that leaves the choice of the node to the scheduler. */
export const autoDestination = 'auto';

/** Secrets in podferry's namespace. The manifests in certs/ have cert-manager make the leaves under the same names. */
export const secretNames = {
  authority: 'podferry-ca',
  webhook: 'podferry-webhook-tls',
  agent: 'podferry-agent-tls',
  controller: 'podferry-controller-tls',
} as const;
