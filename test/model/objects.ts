import type { Migration } from '../../src/api/migration.ts';
import { finalizer, internalAnnotations, labels, roles } from '../../src/api/names.ts';
import type { Node as NodeObject, Pod } from '../../src/api/pod.ts';
import { epoch, statusAt } from './statuses.ts';
import { type MigrationState, type Node, type OwnerKind, type PodState, versionOf } from './world.ts';

/** The model's small records as the objects that the planner and the webhook read. */

const digest = `sha256:${'a'.repeat(64)}`;
export const namespace = 'shop';
export const ownerUid = 'owner-uid';
const ownerName = 'web';

/** Name of the n-th source. Those of a ReplicaSet end as generated names do. */
export function sourceName(kind: OwnerKind, m: number): string {
  return kind === 'ReplicaSet' ? `web-aaaa${m}` : `web-${m}`;
}

export function migrationUid(m: number): string {
  return `migration-${m}`;
}

export function migrationName(m: number): string {
  return `move-${m}`;
}

/** What somebody creates under the switch kind Provided. */
export const providedName = 'provided';

export function migrationObject(kind: OwnerKind, m: number, state: Pick<MigrationState, 'status' | 'finalizer' | 'del'>): Migration {
  return {
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'Migration',
    metadata: {
      name: migrationName(m),
      namespace,
      uid: migrationUid(m),
      generation: 1,
      creationTimestamp: new Date(epoch).toISOString(),
      finalizers: state.finalizer ? [finalizer] : [],
      // Stalled conditions are all of the same time: deleted an hour before, or an hour after.
      ...(state.del ? { deletionTimestamp: new Date(epoch + (state.del === 2 ? 3600_000 : -3600_000)).toISOString() } : {}),
    },
    spec: {
      pod: sourceName(kind, m),
      destination: { nodeName: 'b' },
      ...(kind === 'user' ? { targetPod: providedName } : {}),
    },
    status: statusAt(state.status),
  };
}

function ownerReference(kind: 'ReplicaSet' | 'StatefulSet') {
  return { apiVersion: 'apps/v1', kind, name: ownerName, uid: ownerUid, controller: true };
}

/** A pod as its owner, or a person, asks for it; the name is empty where it is to be generated. */
export function podDraft(kind: OwnerKind, name: string): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      labels: { app: 'web' },
      ...(kind === 'ReplicaSet' || kind === 'StatefulSet' ? { ownerReferences: [ownerReference(kind)] } : {}),
    },
    spec: { containers: [{ name: 'app', image: 'web:1' }] },
  };
}

export function imageOf(token: string): string {
  return `localhost:5001/${token}/app:restore`;
}

export function tokenOf(image: string): string {
  return /^localhost:5001\/([^/]+)\//.exec(image)?.[1] ?? '';
}

/** What a kubelet reports of the pod's one container. */
function containerState({ st }: PodState) {
  switch (st) {
    case 'running':
      return { running: {} };
    case 'pullfail':
      return { waiting: { reason: 'ErrImagePull', message: 'not served' } };
    case 'restorefail':
      return { waiting: { reason: 'RunContainerError', message: 'restore failed' } };
    case 'pending':
      return { waiting: { reason: 'ContainerCreating' } };
  }
}

function targetAnnotations(m: number) {
  return {
    [internalAnnotations.migration]: migrationName(m),
    [internalAnnotations.migrationUid]: migrationUid(m),
    [internalAnnotations.baseImages]: JSON.stringify({ app: `web@${digest}` }),
  };
}

export function podObject(kind: OwnerKind, pod: PodState): Pod {
  const draft = podDraft(kind, pod.name);
  const { ownerReferences, ...metadata } = draft.metadata;
  const isTarget = pod.kind === 'target';
  return {
    ...draft,
    metadata: {
      ...metadata,
      uid: pod.uid,
      resourceVersion: versionOf(pod),
      ...(pod.owned && ownerReferences ? { ownerReferences } : {}),
      ...(pod.released ? { labels: { [labels.role]: roles.source } } : {}),
      ...(pod.deleting ? { deletionTimestamp: new Date(epoch).toISOString() } : {}),
      ...(isTarget || pod.claim >= 0
        ? {
            annotations: {
              ...(pod.claim >= 0
                ? { [internalAnnotations.claim]: `${migrationName(pod.claim)}/${migrationUid(pod.claim)}${pod.fenced ? '/undone' : ''}` }
                : {}),
              ...(isTarget ? targetAnnotations(pod.m) : {}),
            },
          }
        : {}),
    },
    spec: { containers: [{ name: 'app', image: isTarget ? imageOf(pod.token) : 'web:1' }], nodeName: pod.node },
    status: {
      phase: pod.st === 'running' ? 'Running' : 'Pending',
      conditions: [{ type: 'Ready', status: pod.st === 'running' && pod.ready > 0 ? 'True' : 'False' }],
      containerStatuses: [{ name: 'app', restartCount: pod.restarted ? 1 : 0, imageID: `web@${digest}`, state: containerState(pod) }],
    },
  };
}

export function nodeObject(name: Node): NodeObject {
  return { metadata: { name }, spec: {}, status: { conditions: [{ type: 'Ready', status: 'True' }] } };
}

export function baseImageOf(token: string): string {
  return `localhost:5001/${token}/app@${digest}`;
}
