import { type MigrationStatus, phases } from '../../../../src/api/migration.ts';
import { inWords } from '../../../../src/plan/policy/progress-words.ts';
import { migration } from '../objects.ts';

const words = (status?: MigrationStatus, nodeName?: string) =>
  inWords(migration({ ...(status ? { status } : {}), ...(nodeName ? { spec: { destination: { nodeName } } } : {}) }));
const target = { nodeName: 'node-b' };
const failure = { reason: 'RestoreFailed', message: 'CRIU said no' } as const;
const archives = (...sizes: (number | undefined)[]) =>
  sizes.map((archiveBytes, index) => ({ name: `c${index}`, ...(archiveBytes === undefined ? {} : { archiveBytes }) }));

const cases: [string, MigrationStatus | undefined, string][] = [
  ['just made', undefined, 'waiting to migrate'],
  ['Pending', { phase: 'Pending' }, 'waiting to migrate'],
  ['in the queue', { phase: 'Pending', queuePosition: 3 }, 'waiting for its turn to migrate (position 3)'],
  ['no node yet', { phase: 'Preparing' }, 'migrating, making room there'],
  ['Preparing', { phase: 'Preparing', target }, 'migrating to node-b, making room there'],
  ['Freezing', { phase: 'Freezing', target }, 'migrating to node-b, checkpointing'],
  ['Checkpointing', { phase: 'Checkpointing', target }, 'migrating to node-b, checkpointing'],
  ['shipping, sizes not known', { phase: 'Shipping', target }, 'migrating to node-b, shipping'],
  ['shipping, nothing sent', { phase: 'Shipping', target, containers: archives(100) }, 'migrating to node-b, shipping 0 %'],
  [
    'shipping',
    { phase: 'Shipping', target, bytesSent: 649, containers: archives(600, undefined, 400) },
    'migrating to node-b, shipping 64 %',
  ],
  [
    'shipping, more sent than there was',
    { phase: 'Shipping', target, bytesSent: 2000, containers: archives(1000) },
    'migrating to node-b, shipping 100 %',
  ],
  ['Holding', { phase: 'Holding', target }, 'migrating to node-b, restoring'],
  ['Switching', { phase: 'Switching', target }, 'migrating to node-b, restoring'],
  ['Restoring', { phase: 'Restoring', target }, 'migrating to node-b, restoring'],
  ['CleaningUp', { phase: 'CleaningUp', target }, 'migrated to node-b'],
  ['Succeeded', { phase: 'Succeeded', target }, 'migrated to node-b'],
  ['RollingBack', { phase: 'RollingBack', target, failure }, 'the migration failed and is undone (CRIU said no)'],
  ['Returning', { phase: 'Returning', target, failure }, 'the migration failed and is undone (CRIU said no)'],
  ['Failed', { phase: 'Failed', failure }, 'the migration failed and is undone (CRIU said no)'],
  ['Failed, nobody knows why', { phase: 'Failed' }, 'the migration failed and is undone (the reason is not known)'],
];

test.each(cases)('%s', (_what, status, expected) => {
  expect(words(status)).toBe(expected);
});

test('the node that was named, until the one that was chosen is known', () => {
  expect(words({ phase: 'Preparing' }, 'node-c')).toBe('migrating to node-c, making room there');
  expect(words({ phase: 'Preparing', target }, 'node-c')).toBe('migrating to node-b, making room there');
});

test.each(phases)('%s: there are words, and they fit on the line of kubectl drain', (phase) => {
  const said = words({ phase, target, failure, queuePosition: 1 });
  expect(said).toMatch(/^[a-z]/);
  expect(said.length).toBeLessThan(80);
});
