import { type Action, type Observation, planMigration } from '../../../../src/plan/migration/index.ts';
import { deepFreeze, migration, pod } from '../objects.ts';
import {
  actionsOf,
  ago,
  claimed,
  observe,
  observeAt,
  order,
  placeholder,
  planOf,
  said,
  silent,
  sourceIs,
  statusAt,
  targetIs,
  targetPod,
  written,
} from './observations.ts';

/** For every phase what an observer may see; the answers of the agents in all combinations. */
function* everything(): Generator<[string, Observation]> {
  const sources = [
    undefined,
    silent,
    ...(['Unknown', 'Running', 'Freezing', 'Frozen', 'Checkpointed', 'Shipped', 'Held'] as const).map((state) =>
      sourceIs(state, { leaseLeft: 5000 }),
    ),
  ];
  const destinations = [
    undefined,
    silent,
    ...(['Unknown', 'Prepared', 'Fetching', 'Complete', 'Serving', 'Revoked', 'Committed'] as const).map((state) => targetIs(state)),
  ];
  for (const phase of order) {
    for (const source of sources) {
      for (const destination of destinations) {
        for (const [pods, change] of [
          ['source', {}],
          ['source and target', { targetPod: targetPod(), placeholder: placeholder() }],
          ['no pods', { sourcePod: undefined }],
        ] as const) {
          const name = `${phase}, ${source?.reachable ? source.view.state : 'silent'}, ${destination?.reachable ? destination.view.state : 'silent'}, ${pods}`;
          yield [name, observeAt(phase, { source, destination, ...change })];
        }
      }
    }
  }
}

/** What an action asks for, without its details. */
const kindOf = (action: Action) => ('request' in action ? `${action.type} ${action.request.goal}` : action.type);

const contradictions = [
  ['setSource Shipped', 'setSource Resumed'],
  ['setSource Held', 'setSource Resumed'],
  ['setSource Held', 'forgetSource'],
  ['setTarget Serving', 'setTarget Revoked'],
  ['setTarget Committed', 'setTarget Revoked'],
  ['setTarget Committed', 'setSource Resumed'],
  ['releasePod', 'giveBackPod'],
];

test('planned again and again from what was written: it settles, goes back never but to roll back, and contradicts itself nowhere', () => {
  for (const [name, seen] of everything()) {
    let observation = seen;
    const asked = new Set<string>();
    const phasesSeen: string[] = [];
    for (let round = 0; round < 6; round++) {
      const plan = planMigration(deepFreeze(observation));
      for (const action of actionsOf(plan)) asked.add(kindOf(action));
      if (plan.status?.phase && plan.status.phase !== phasesSeen.at(-1)) phasesSeen.push(plan.status.phase);
      if (!plan.status || JSON.stringify(plan.status) === JSON.stringify(observation.migration.status)) break;
      if (round === 5) throw new Error(`${name}: the status never settles`);
      observation = written(observation, plan);
      if (plan.status.phase === 'RollingBack') break;
    }
    const places = phasesSeen.map((phase) => (order as string[]).indexOf(phase)).filter((place) => place >= 0);
    expect([name, places]).toEqual([name, places.toSorted((left, right) => left - right)]);
    for (const pair of contradictions) {
      if (pair.every((kind) => asked.has(kind))) throw new Error(`${name}: ${pair.join(' and ')}`);
    }
  }
});

test('before the commit nothing destroys the source without a name that has to be freed; after it nothing resumes it', () => {
  for (const [name, observation] of everything()) {
    const { phase = 'Pending' } = observation.migration.status ?? {};
    const plan = planMigration(deepFreeze(observation));
    const [actions, status] = [actionsOf(plan), plan.status];
    const uids = actions.flatMap((action) => (action.type === 'deletePod' ? [action.uid] : []));
    const resumes = actions.some((action) => action.type === 'setSource' && action.request.goal === 'Resumed');
    if (phase === 'CleaningUp' || phase === 'Succeeded') expect([name, resumes, status?.phase]).not.toEqual([name, false, 'RollingBack']);
    else expect([name, uids.includes(observation.sourcePod?.metadata.uid ?? '-')]).toEqual([name, false]);
    expect([name, resumes]).toEqual([name, false]);
  }
});

test('a migration without a status is pending; a failed one ends as a succeeded one does', () => {
  expect(planOf(claimed(observe())).status?.phase).toBe('Preparing');
  const failed = migration({ status: statusAt('Succeeded', { phase: 'Failed' }) });
  expect(planOf(observe({ migration: failed })).actions).toEqual([{ type: 'removeFinalizer' }]);
});

describe('conditions', () => {
  const shipping = (conditions: NonNullable<ReturnType<typeof statusAt>['conditions']>) =>
    observeAt('Shipping', { source: sourceIs('Checkpointed', { leaseLeft: 29_000 }), destination: targetIs('Prepared') }, { conditions });

  test('their time changes with their status only', () => {
    const before = { type: 'Ready', status: 'False', reason: 'Frozen', message: 'x', lastTransitionTime: '2026-11-24T11:00:00Z' } as const;
    const kept = planOf(shipping([before]));
    expect(said(kept)).toMatchObject({ reason: 'Checkpointed', lastTransitionTime: '2026-11-24T11:00:00Z' });
    expect(said(kept, 'Reconciling')?.lastTransitionTime).toBe('2026-11-24T12:00:00Z');
    const changed = planOf(shipping([{ ...before, status: 'True' }]));
    expect(said(changed)?.lastTransitionTime).toBe('2026-11-24T12:00:00Z');
  });

  test('a long message is cut, a second failure does not hide the first', () => {
    const failing = (status: Parameters<typeof observeAt>[2]) =>
      observeAt(
        'Shipping',
        { source: sourceIs('Running', { error: { step: 'ship', message: 'x'.repeat(9000) } }), destination: targetIs('Prepared') },
        status,
      );
    expect(said(planOf(failing({})))?.message).toHaveLength(4096);
    const failure = { reason: 'RestoreFailed', message: 'the first' } as const;
    expect(planOf(failing({ failure })).status).toMatchObject({ failure, returnFailure: expect.stringContaining('xxx') });
  });

  test('without a generation none is claimed', () => {
    const observation = observe({ rivalMigration: 'first', sourcePod: pod() });
    delete observation.migration.metadata.generation;
    expect(planOf(observation).status).not.toHaveProperty('observedGeneration');
    expect(said(planOf(observation))).toMatchObject({ status: 'False', lastTransitionTime: '2026-11-24T12:00:00Z' });
    expect(planOf(observation).status?.steps?.finished).toBe(ago(0));
  });
});
