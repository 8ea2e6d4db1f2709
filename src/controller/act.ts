import type { SourceView, TargetView } from '../api/agent.ts';
import type { Migration } from '../api/migration.ts';
import { finalizer, internalAnnotations, userAnnotations } from '../api/names.ts';
import type { Pod } from '../api/pod.ts';
import { claimOf, fencedClaimOf } from '../plan/migration/accept.ts';
import type { Action } from '../plan/migration/index.ts';
import type { Agents } from './agents.ts';

/** What the actions need of the API server. Every call is safe to repeat; what is already so is no error. */
export interface ClusterPorts {
  createPod(namespace: string, pod: Pod, signal: AbortSignal): Promise<void>;
  /** Deletes just that pod (uid, and version if one is named); one that is gone or another by now is no error. */
  deletePod(namespace: string, pod: Extract<Action, { type: 'deletePod' }>, signal: AbortSignal): Promise<void>;
  /** Merge patch of the metadata of just that pod (uid); one that is gone is no error. */
  patchPod(namespace: string, name: string, uid: string, metadata: object, signal: AbortSignal): Promise<void>;
  /** Merge patch that fails with a conflict when the pod is not in the version named in it. */
  claimPod(namespace: string, name: string, metadata: object, signal: AbortSignal): Promise<void>;
  patchMigration(migration: Migration, metadata: object, signal: AbortSignal): Promise<void>;
  deleteMigration(migration: Migration, signal: AbortSignal): Promise<void>;
}

/** What an agent that was told something says of itself then. */
export type Answer = { source: SourceView } | { destination: TargetView };

export type Act = (migration: Migration, action: Action, signal: AbortSignal) => Promise<Answer | undefined>;

/** Carries out what the planner said; no decisions here. */
export function actor(cluster: ClusterPorts, agents: Agents): Act {
  return async (migration, action, signal) => {
    const { uid = '' } = migration.metadata;
    switch (action.type) {
      case 'setSource':
        return { source: await agents.setSource(action.nodeName, uid, action.request, signal) };
      case 'setTarget':
        return { destination: await agents.setTarget(action.nodeName, uid, action.request, signal) };
      default:
        await change(cluster, agents, migration, action, signal);
        return undefined;
    }
  };
}

type Change = Exclude<Action, { type: 'setSource' | 'setTarget' }>;

function change(cluster: ClusterPorts, agents: Agents, migration: Migration, action: Change, signal: AbortSignal): Promise<void> {
  const { namespace = '', uid = '' } = migration.metadata;
  switch (action.type) {
    case 'addFinalizer':
      return cluster.patchMigration(migration, { finalizers: [...(migration.metadata.finalizers ?? []), finalizer] }, signal);
    case 'removeFinalizer':
      return cluster.patchMigration(
        migration,
        { finalizers: (migration.metadata.finalizers ?? []).filter((name) => name !== finalizer) },
        signal,
      );
    case 'deleteMigration':
      return cluster.deleteMigration(migration, signal);
    case 'createPod':
      return cluster.createPod(namespace, action.pod, signal);
    case 'deletePod':
      return cluster.deletePod(namespace, action, signal);
    case 'releasePod':
      return cluster.patchPod(
        namespace,
        action.name,
        action.uid,
        { resourceVersion: action.resourceVersion, labels: { ...without(action.labels), ...action.add } },
        signal,
      );
    case 'giveBackPod':
      return cluster.patchPod(namespace, action.name, action.uid, { labels: { ...without(action.remove), ...action.labels } }, signal);
    case 'claimPod': {
      const { name, uid: podUid, resourceVersion } = action;
      return cluster.claimPod(
        namespace,
        name,
        { uid: podUid, resourceVersion, annotations: { [internalAnnotations.claim]: claimOf(migration) } },
        signal,
      );
    }
    case 'fencePod':
      return cluster.patchPod(
        namespace,
        action.name,
        action.uid,
        { annotations: { [internalAnnotations.claim]: fencedClaimOf(migration) } },
        signal,
      );
    case 'unclaimPod':
      return cluster.patchPod(namespace, action.name, action.uid, { annotations: without([internalAnnotations.claim]) }, signal);
    case 'clearRequest':
      return cluster.patchPod(
        namespace,
        action.pod,
        action.uid,
        {
          annotations: without([userAnnotations.migrateTo, internalAnnotations.request]),
        },
        signal,
      );
    case 'forgetSource':
      return agents.forget('sources', action.nodeName, uid, signal);
    case 'forgetTarget':
      return agents.forget('targets', action.nodeName, uid, signal);
  }
}

/** Keys that a merge patch (RFC 7386) takes away. */
function without(keys: string[]): Record<string, null> {
  return Object.fromEntries(keys.map((key) => [key, null]));
}
