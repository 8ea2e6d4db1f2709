import type { AgentRecords } from '../../../src/api/agent.ts';
import { leftoversOf, type Standing } from '../../../src/plan/leftovers.ts';

const standing: Record<string, Standing> = { active: 'active', finished: 'finished' };
const look = (records: Partial<AgentRecords>) => leftoversOf({ sources: [], targets: [], ...records }, (uid) => standing[uid]);

it('nothing of a migration that is under way', () => {
  const states = ['Running', 'Held', 'Frozen', 'Shipped'] as const;
  expect(look({ sources: states.map((state) => ({ uid: 'active', state })), targets: [{ uid: 'active', state: 'Serving' }] })).toEqual({
    sources: [],
    targets: [],
    orphaned: [],
  });
});

it('what a finished migration left on a node that did not answer', () => {
  expect(look({ sources: [{ uid: 'finished', state: 'Held' }], targets: [{ uid: 'finished', state: 'Revoked' }] })).toEqual({
    sources: ['finished'],
    targets: ['finished'],
    orphaned: [],
  });
});

it('but not what a target pod is restarted from', () => {
  expect(
    look({
      targets: [
        { uid: 'finished', state: 'Committed' },
        { uid: 'unknown', state: 'Committed' },
      ],
    }).targets,
  ).toEqual([]);
});

it('a frozen pod whose Migration is gone is for a person, its memory is not removed', () => {
  expect(
    look({
      sources: [
        { uid: 'unknown', state: 'Held' },
        { uid: 'unknown', state: 'Running' },
      ],
    }),
  ).toEqual({ sources: ['unknown'], targets: [], orphaned: ['unknown'] });
});
