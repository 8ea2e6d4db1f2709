import { pino } from 'pino';
import type { Migration } from '../../../src/api/migration.ts';
import type { Pod } from '../../../src/api/pod.ts';
import { lookAtNode, type NodeTriggerPorts } from '../../../src/controller/node-triggers.ts';
import { node, pod } from '../plan/objects.ts';
import { made, policy } from '../plan/policy/policies.ts';

const signal = new AbortController().signal;
const cordoned = node('node-a', { unschedulable: true });

/** One look at node-a; what was done, in order. */
async function look(change: Partial<NodeTriggerPorts> & { pods?: Pod[]; waiting?: Migration[] } = {}) {
  const { pods = [pod()], waiting = [], ...ports } = change;
  const did: string[] = [];
  const created: Migration[] = [];
  const looked = lookAtNode(
    {
      node: (name) => (name === 'node-a' ? cordoned : undefined),
      policies: () => [policy({ triggers: { cordon: true } })],
      namespaceLabels: (name) => (name === 'shop' ? { team: 'shop' } : undefined),
      migrationsOf: () => [],
      migrationsFrom: () => waiting,
      podsOn: async (name, stop) => {
        stop.throwIfAborted();
        did.push(`list ${name}`);
        return pods;
      },
      createMigration: async (migration, stop) => {
        stop.throwIfAborted();
        did.push(`create ${migration.spec.pod}`);
        created.push(migration);
      },
      withdrawMigration: async (migration, stop) => {
        stop.throwIfAborted();
        did.push(`withdraw ${migration.metadata.name}`);
      },
      lookAgain: (name) => void did.push(`again ${name}`),
      log: pino({ level: 'silent' }),
      ...ports,
    },
    'node-a',
    signal,
  );
  const error = await looked.then(
    () => undefined,
    (reason: Error) => reason.message,
  );
  return { did, created, error };
}

test('a node that asks: its pods are read once, their Migrations made, and it is looked at again', async () => {
  const { did, created } = await look({ pods: [pod(), pod({ metadata: { name: 'db-0', uid: 'db' } })] });
  expect(did).toEqual(['again node-a', 'list node-a', 'create web-7d9f-abcde', 'create db-0']);
  expect(created[0]?.metadata.annotations?.['podferry.io/trigger']).toBe('cordon');
});

test('pods of namespaces that are not enabled stay, also under a policy for all of them', async () => {
  const { did } = await look({ pods: [pod({ metadata: { namespace: 'bank' } })] });
  expect(did).toEqual(['again node-a', 'list node-a']);
});

test('a node that asks for nothing, or is gone, costs nothing', async () => {
  expect((await look({ node: () => node('node-a') })).did).toEqual([]);
  expect((await look({ policies: () => [policy()] })).did).toEqual([]);
  const gone = await look({ node: () => undefined, waiting: [made(undefined, { trigger: 'cordon' })] });
  expect(gone.did).toEqual([]);
});

test('uncordoned: what has not begun is withdrawn, nothing is made', async () => {
  const waiting = [
    made(undefined, { name: 'waits', trigger: 'cordon' }),
    made({ phase: 'Freezing' }, { name: 'moves', trigger: 'cordon' }),
    made(undefined, { name: 'asked-for' }),
  ];
  expect((await look({ node: () => node('node-a'), waiting })).did).toEqual(['withdraw waits']);
  expect((await look({ waiting })).did).not.toContain('withdraw waits');
});

test('one that has changed since is not withdrawn: the look fails, and is made again', async () => {
  const { error } = await look({
    node: () => node('node-a'),
    waiting: [made(undefined, { trigger: 'cordon' })],
    withdrawMigration: () => Promise.reject(new Error('conflict')),
  });
  expect(error).toBe('conflict');
});

test('errors are for the queue to repeat', async () => {
  expect((await look({ podsOn: () => Promise.reject(new Error('gone')) })).error).toBe('gone');
  expect((await look({ createMigration: () => Promise.reject(new Error('quota')) })).error).toBe('quota');
});

test('the Migrations of a pod are asked for by the pod', async () => {
  const asked: string[] = [];
  const { did } = await look({
    migrationsOf: ({ metadata }) => {
      asked.push(metadata.name);
      return [made({ phase: 'Shipping' })];
    },
  });
  expect(asked).toEqual(['web-7d9f-abcde']);
  expect(did).toEqual(['again node-a', 'list node-a']);
});
