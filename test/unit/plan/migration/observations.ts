import type { Observed, SourceView, TargetView } from '../../../../src/api/agent.ts';
import type { MigrationStatus, Phase, Step } from '../../../../src/api/migration.ts';
import type { Pod } from '../../../../src/api/pod.ts';
import { actionsOf, type Observation, type Plan, planMigration } from '../../../../src/plan/migration/index.ts';
import { deepFreeze, digest, migration, migrationUid, node, ownedBy, ownerUid, pod, podUid, targetUid } from '../objects.ts';

/** Observations as the controller makes them, for a pod of a ReplicaSet that moves from node-a to node-b. */

export const now = Date.parse('2026-11-24T12:00:00.000Z');
export const settings = { placeholderImage: 'registry.k8s.io/pause:3.10', leaseMilliseconds: 30_000 };

/** The time so many seconds ago, as status has it. */
export function ago(seconds: number): string {
  return new Date(now - seconds * 1000).toISOString().replace(/Z$/, '000Z');
}

export const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-7d9f', uid: ownerUid };
export const targetName = 'web-7d9f-zzzzz';
export const source = { name: 'web-7d9f-abcde', uid: podUid, nodeName: 'node-a', owner, labels: { app: 'web' }, wasReady: true };
export const checkpointImage = 'localhost:5001/token/app:restore';

/** In the order they are gone through when all goes well, with the step that ends the one before. */
const way: [Phase, Step[]][] = [
  ['Pending', []],
  ['Preparing', ['accepted']],
  ['Freezing', ['prepared']],
  ['Checkpointing', ['frozen']],
  ['Shipping', ['checkpointed']],
  ['Holding', ['shipped']],
  ['Switching', ['held']],
  ['Restoring', ['created']],
  ['CleaningUp', ['restored', 'committed']],
  ['Succeeded', ['finished']],
];
export const order: Phase[] = way.map(([phase]) => phase);

/** The status of a migration in this phase, every step done ten seconds ago. */
export function statusAt(phase: Phase, change: MigrationStatus = {}): MigrationStatus {
  const reached = way.slice(0, order.indexOf(phase) + 1).flatMap(([, steps]) => steps);
  const after = (other: Phase) => order.indexOf(phase) >= order.indexOf(other);
  return {
    phase,
    switchKind: 'Release',
    source,
    attempts: 1,
    containers: [
      {
        name: 'app',
        image: 'registry.example/shop/web:v1',
        baseImage: `registry.example/shop/web@${digest('a')}`,
        ...(after('Holding') ? { checkpointImage } : {}),
      },
    ],
    placeholder: 'web-7d9f-abcde-room-x',
    steps: Object.fromEntries(reached.map((step) => [step, ago(10)])),
    ...(after('Freezing')
      ? {
          target: {
            nodeName: 'node-b',
            ...(after('Switching') ? { name: targetName } : {}),
            ...(after('Restoring') ? { uid: targetUid } : {}),
          },
        }
      : {}),
    ...change,
  };
}

/** Everything is as it should be: nodes ready, the source runs, agents answer nothing yet. */
export function observe(change: Partial<Observation> = {}): Observation {
  return {
    now,
    migration: migration(),
    sourcePod: pod({ metadata: ownedBy('ReplicaSet') }),
    targetPod: undefined,
    placeholder: undefined,
    rivalMigration: undefined,
    turn: undefined,
    bytesPerSecond: undefined,
    cpus: { lacking: [] },
    budgets: [],
    namespaceEnabled: true,
    namespaceTerminating: false,
    unwanted: undefined,
    complete: undefined,
    sourceNode: node('node-a'),
    destinationNode: node('node-b'),
    source: undefined,
    destination: undefined,
    failedDestination: undefined,
    destinationAddress: '10.0.0.2:7443',
    settings,
    ...change,
  };
}

/** The source bears this migration's claim, as it does from before the acceptance on. */
export function claimed(observation: Observation): Observation {
  const { sourcePod, migration: subject } = observation;
  if (!sourcePod) return observation;
  const annotations = { ...sourcePod.metadata.annotations, 'podferry.io/claimed-by': `${subject.metadata.name}/${subject.metadata.uid}` };
  return { ...observation, sourcePod: { ...sourcePod, metadata: { ...sourcePod.metadata, annotations } } };
}

/** An observation in this phase; `status` changes what the phase has as a rule. */
export function observeAt(phase: Phase, change: Partial<Observation> = {}, status: MigrationStatus = {}): Observation {
  return observe({ migration: migration({ status: statusAt(phase, status) }), ...change });
}

export function sourceView(state: SourceView['state'], change: Partial<SourceView> = {}): SourceView {
  return { revision: 3, state, containers: [{ name: 'app', archiveBytes: 1000, bytesSent: 250 }], ...change };
}

export function sourceIs(...given: Parameters<typeof sourceView>): Observed<SourceView> {
  return { reachable: true, view: sourceView(...given) };
}

export function targetView(state: TargetView['state'], change: Partial<TargetView> = {}): TargetView {
  const rootfsImageRef = `localhost:5001/token/app@${digest('a')}`;
  return { revision: 5, state, repository: 'token', containers: [{ name: 'app', rootfsImageRef, checkpointImage }], ...change };
}

export function targetIs(...given: Parameters<typeof targetView>): Observed<TargetView> {
  return { reachable: true, view: targetView(...given) };
}

export const silent = { reachable: false, message: 'connect ECONNREFUSED' } as const;

/** The target pod, rewritten by the webhook for this migration. */
export function targetPod(change: Parameters<typeof pod>[0] = {}): Pod {
  return pod({
    ...change,
    metadata: { name: targetName, uid: targetUid, annotations: { 'podferry.io/migration-uid': migrationUid }, ...change.metadata },
    spec: { nodeName: 'node-b', ...change.spec },
  });
}

export function placeholder(change: Parameters<typeof pod>[0] = {}): Pod {
  return pod({
    ...change,
    metadata: { name: 'web-7d9f-abcde-room-x', uid: 'room', ...change.metadata },
    spec: { nodeName: 'node-b', ...change.spec },
  });
}

/** The plan of an observation; that the planner changes nothing of it, and always says the same, is checked on the way. */
export function planOf(observation: Observation): Plan {
  const plan = planMigration(deepFreeze(observation));
  expect(planMigration(observation)).toEqual(plan);
  return plan;
}

/** The observation with the status that a plan wrote. */
export function written(observation: Observation, plan: Plan): Observation {
  return plan.status ? { ...observation, migration: { ...observation.migration, status: plan.status } } : observation;
}

/** What a condition says; Ready, which is always there, unless another is asked for. */
export function said(plan: Plan, type = 'Ready') {
  return plan.status?.conditions?.find((condition) => condition.type === type);
}

export { actionsOf };

export function actionTypes(plan: Plan): string[] {
  return actionsOf(plan).map(({ type }) => type);
}

/** The reason why a plan rolls back, or fails, and what it says of it. */
export function expectFailure(plan: Plan, phase: 'RollingBack' | 'Failed', reason: string, message: RegExp): void {
  expect(plan.status?.phase).toBe(phase);
  expect(plan.status?.failure).toEqual({ reason, message: expect.stringMatching(message) });
  expect(plan.events?.[0]).toMatchObject({ type: 'Warning', reason, message: expect.stringMatching(message) });
  expect(actionsOf(plan)).toEqual([]);
  expect(said(plan)?.status).toBe('False');
  expect(said(plan)?.message).toMatch(message);
}
