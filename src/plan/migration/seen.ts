import type { SourceView } from '../../api/agent.ts';
import type { ContainerStatus, MigrationStatus } from '../../api/migration.ts';
import type { Observation } from './observation.ts';
import { microTime, statusOf } from './progress.ts';

/** What the source's agent says of the containers, for status. The times of the freeze and the checkpoint are the agent's, not those of hearing of it. */
export function following(observation: Observation, view: SourceView): Partial<MigrationStatus> {
  const status = statusOf(observation);
  const containers: ContainerStatus[] = (status.containers ?? []).map((container) => {
    const seen = view.containers.find((candidate) => candidate.name === container.name);
    if (!seen) return container;
    return {
      ...container,
      bytesSent: seen.bytesSent,
      ...(seen.archiveBytes === undefined ? {} : { archiveBytes: seen.archiveBytes }),
      ...(seen.warmBytes ? { warmBytes: seen.warmBytes } : {}),
    };
  });
  const { frozenAt, checkpointedAt } = view;
  const steps = {
    ...status.steps,
    ...(frozenAt ? { frozen: microTime(Date.parse(frozenAt)) } : {}),
    ...(checkpointedAt ? { checkpointed: microTime(Date.parse(checkpointedAt)) } : {}),
  };
  const bytesSent = containers.reduce((sum, container) => sum + (container.bytesSent ?? 0), 0);
  return { containers, bytesSent, ...(frozenAt || checkpointedAt ? { steps } : {}) };
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
