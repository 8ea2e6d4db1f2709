import type { SourceGoal, SourceRequest, TargetGoal, TargetRequest } from '../../api/agent.ts';
import { type MigrationStatus, timeoutsOf } from '../../api/migration.ts';
import type { Pod } from '../../api/pod.ts';
import { emptyDirs } from '../pods/images.ts';
import type { Observation } from './observation.ts';
import { statusOf } from './progress.ts';

/** What the destination's agent is asked. */
export function targetRequest(observation: Observation, goal: TargetGoal): TargetRequest {
  const { migration } = observation;
  const status = statusOf(observation);
  return {
    goal,
    namespace: migration.metadata.namespace ?? '',
    transfer: migration.spec.transfer ?? 'Direct',
    containers: (status.containers ?? []).map((container) => ({ name: container.name, baseImage: container.baseImage ?? '' })),
    volumes: volumesOf(observation),
    ...(status.target?.name ? { pod: status.target.name } : {}),
  };
}

/** What the source's agent is asked. */
export function sourceRequest(observation: Observation, goal: SourceGoal): SourceRequest {
  const { migration, destination, destinationAddress, settings, bytesPerSecond } = observation;
  const { source, target, switchKind, freezeBudgetMilliseconds } = statusOf(observation);
  const prepared = destination?.reachable ? destination.view : undefined;
  return {
    goal,
    namespace: migration.metadata.namespace ?? '',
    pod: source?.name ?? '',
    podUid: source?.uid ?? '',
    ...(source?.nodeName ? { nodeName: source.nodeName } : {}),
    leaseMilliseconds: settings.leaseMilliseconds,
    ...(freezeBudgetMilliseconds === undefined ? {} : { budgetMilliseconds: freezeBudgetMilliseconds }),
    // A return does not leave the node.
    transfer: goal === 'Returned' ? 'Direct' : (migration.spec.transfer ?? 'Direct'),
    containers: (prepared?.containers ?? []).map((container) => ({ name: container.name, rootfsImageRef: container.rootfsImageRef })),
    volumes: volumesOf(observation),
    freezeMilliseconds: timeoutsOf(migration).freezeSeconds * 1000,
    ...(migration.spec.warmRounds === undefined ? {} : { warmRounds: migration.spec.warmRounds }),
    // Whoever creates a provided target has to do so again; nothing returns by itself.
    keepVolumes: switchKind !== 'Provided',
    ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
    destination: {
      address: destinationAddress ?? '',
      repository: prepared?.repository ?? '',
      ...(prepared?.contentDirectory ? { contentDirectory: prepared.contentDirectory } : {}),
      ...(prepared?.memoryPort ? { memoryPort: prepared.memoryPort } : {}),
      ...(target?.nodeName ? { nodeName: target.nodeName } : {}),
      ...(prepared?.freeBytes === undefined ? {} : { freeBytes: prepared.freeBytes }),
    },
  };
}

/** What the node that serves the checkpoint says of it, for status: what the target pod is made from. */
export function arrival(observation: Observation, containers = statusOf(observation).containers): Pick<MigrationStatus, 'containers'> {
  const { destination } = observation;
  if (!destination?.reachable) return {};
  return {
    containers: (containers ?? []).map((container) => {
      const seen = destination.view.containers.find((candidate) => candidate.name === container.name);
      if (!seen) return container;
      return { ...container, checkpointImage: seen.checkpointImage, ...(seen.digest ? { digest: seen.digest } : {}) };
    }),
  };
}

function volumesOf(observation: Observation): string[] {
  const { sourcePod, migration } = observation;
  const manifest = migration.status?.source?.manifest as Pod | undefined;
  const pod = sourcePod?.metadata.uid === migration.status?.source?.uid ? sourcePod : manifest;
  return pod ? emptyDirs(pod) : [];
}
