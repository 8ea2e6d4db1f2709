import type { Observation, Plan } from '../../src/plan/migration/index.ts';
import { planMigration } from '../../src/plan/migration/index.ts';

/** Planners that are broken on purpose: the search has to catch each. */

/** Goes on to the switch as soon as the destination serves, whether the source holds or not. */
export function switchesWithoutHold(observation: Observation): Plan {
  const { migration, source } = observation;
  if (migration.status?.phase !== 'Holding' || !source?.reachable) return planMigration(observation);
  const plan = planMigration({ ...observation, source: { reachable: true, view: { ...source.view, state: 'Held' } } });
  return { ...plan, meanwhile: plan.meanwhile?.filter(({ type }) => type !== 'setSource') ?? [] };
}

/** Takes the target for gone while it still is there. */
export function resumesTooEarly(observation: Observation): Plan {
  if (observation.migration.status?.phase !== 'RollingBack') return planMigration(observation);
  const { destination } = observation;
  const blind = destination?.reachable ? { ...destination, view: { ...destination.view, live: false } } : destination;
  return planMigration({ ...observation, targetPod: undefined, destination: blind });
}

/** Takes an unreachable destination for one that has nothing of the migration. */
export function doesNotWaitForTheDestination(observation: Observation): Plan {
  if (observation.migration.status?.phase !== 'RollingBack' || observation.destination?.reachable !== false)
    return planMigration(observation);
  const view = { revision: 1, state: 'Unknown' as const, containers: [] };
  return planMigration({ ...observation, destination: { reachable: true, view } });
}

/** Cleans up as soon as there is a target pod, before it was restored. */
export function cleansUpBeforeTheRestore(observation: Observation): Plan {
  const { status } = observation.migration;
  if (status?.phase !== 'Restoring' || !status.source) return planMigration(observation);
  const { name, uid, nodeName } = status.source;
  const plan = planMigration(observation);
  return {
    ...plan,
    actions: [
      ...plan.actions,
      { type: 'deletePod', name, uid, gracePeriodSeconds: 0 },
      { type: 'forgetSource', nodeName },
      {
        type: 'setTarget',
        nodeName: status.target?.nodeName ?? '',
        request: { goal: 'Committed', namespace: '', transfer: 'Direct', containers: [], volumes: [] },
      },
    ],
  };
}

/** Commits to a target that has not shown yet that it was restored. */
export function commitsTooEarly(observation: Observation): Plan {
  const { destination, targetPod } = observation;
  if (observation.migration.status?.phase !== 'Restoring' || !destination?.reachable || !targetPod) return planMigration(observation);
  const containers = destination.view.containers.map((container) => ({ ...container, startedAt: '2026-01-01T00:00:00Z' }));
  const running = {
    phase: 'Running',
    conditions: [{ type: 'Ready', status: 'True' }],
    containerStatuses: [{ name: 'app', state: { running: {} } }],
  };
  return planMigration({
    ...observation,
    destination: { reachable: true, view: { ...destination.view, containers } },
    targetPod: { ...targetPod, status: running },
  });
}
