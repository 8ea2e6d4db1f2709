import { pino } from 'pino';
import type { MigrationPreview, PreviewSpec, PreviewStatus } from '../../../src/api/preview.ts';
import { keepPreview, type PreviewPorts } from '../../../src/controller/previews.ts';
import { now } from '../plan/migration/observations.ts';
import { node, pod } from '../plan/objects.ts';
import { policy } from '../plan/policy/policies.ts';

const signal = new AbortController().signal;

function object(spec: Partial<PreviewSpec> = {}, status?: PreviewStatus, metadata: object = {}): MigrationPreview {
  return {
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'MigrationPreview',
    metadata: { name: 'before-drain', uid: 'u', generation: 1, ...metadata },
    spec: { nodeName: 'node-a', ...spec },
    ...(status ? { status } : {}),
  };
}

/** One look at a preview; what was done, in order, and the status that was written. */
async function keep(preview: MigrationPreview | undefined, change: Partial<PreviewPorts> = {}) {
  const did: string[] = [];
  let written: PreviewStatus | undefined;
  await keepPreview(
    {
      now: () => now,
      getPreview: async () => preview,
      getNode: async (name) => (name === 'node-a' ? node('node-a') : undefined),
      podsOn: async (name) => {
        did.push(`list ${name}`);
        return [pod()];
      },
      policies: async () => [policy()],
      migrations: () => [],
      budgets: () => [],
      namespaceLabels: () => ({}),
      nodeOf: () => undefined,
      writeStatus: async (_preview, status) => {
        did.push('write');
        written = status;
      },
      remove: async ({ metadata }) => void did.push(`remove ${metadata.name}`),
      lookAgain: (name, after) => void did.push(`again ${name} ${after}`),
      log: pino({ level: 'silent' }),
      ...change,
    },
    'before-drain',
    signal,
  );
  return { did, written };
}
const observed = (secondsAgo: number): PreviewStatus => ({ observed: new Date(now - secondsAgo * 1000).toISOString() });

test('filled once, by one list of the node’s pods, and looked at again when its time is over', async () => {
  const { did, written } = await keep(object());
  expect(did).toEqual(['list node-a', 'write', 'again before-drain 3600000']);
  expect(written).toMatchObject({
    observedGeneration: 1,
    observed: expect.stringMatching(/Z$/),
    counts: { Migrate: 1 },
    pods: [{ verdict: 'Migrate', policy: 'drains' }],
    conditions: [{ type: 'Ready', status: 'True', reason: 'Previewed', message: '1 Migrate; nothing was done' }],
  });
  expect(written).not.toHaveProperty('omitted');
});

test('what is filled stays as it is until its time is over, then it goes', async () => {
  expect((await keep(object({}, observed(3599)))).did).toEqual(['again before-drain 1000']);
  expect((await keep(object({}, observed(3600)))).did).toEqual(['remove before-drain']);
  expect((await keep(object({ ttlSecondsAfterFinished: 60 }, observed(59)))).did).toEqual(['again before-drain 1000']);
  expect((await keep(object({ ttlSecondsAfterFinished: 60 }, observed(61)))).did).toEqual(['remove before-drain']);
});

test('one that is gone, or goes, is left alone', async () => {
  expect((await keep(undefined)).did).toEqual([]);
  expect((await keep(object({}, undefined, { deletionTimestamp: '2026-11-24T10:00:00Z' }))).did).toEqual([]);
});

test('no such node, no such policy: said in Ready, and it ends like others', async () => {
  const gone = await keep(object({ nodeName: 'node-x' }));
  expect(gone.did).toEqual(['write', 'again before-drain 3600000']);
  expect(gone.written?.conditions).toMatchObject([{ status: 'False', reason: 'NodeNotFound', message: expect.stringContaining('node-x') }]);
  expect(gone.written).not.toHaveProperty('pods');
  const none = await keep(object({ policy: 'other' }));
  expect(none.written?.conditions).toMatchObject([
    { status: 'False', reason: 'PolicyNotFound', message: expect.stringContaining('other') },
  ]);
});

test('one policy alone, and the trigger that is asked for', async () => {
  const policies = async () => [policy(), policy({ priority: 1, podSelector: { matchLabels: { app: 'db' } } }, { name: 'db' })];
  expect((await keep(object({ policy: 'db' }), { policies })).written).toMatchObject({ pods: [], counts: {} });
  expect((await keep(object({ policy: 'drains' }), { policies })).written?.pods).toHaveLength(1);
  expect((await keep(object({ trigger: 'Node' }))).written?.pods).toMatchObject([{ verdict: 'Uncovered' }]);
});

test('a status stays small: 500 rows, the rest counted, long messages cut', async () => {
  const ended = { phase: 'Failed', failure: { reason: 'RestoreFailed', message: 'x'.repeat(5000) } } as const;
  const pods = Array.from({ length: 510 }, (_, index) => pod({ metadata: { name: `p-${index}`, uid: `u-${index}` } }));
  const { written } = await keep(object(), {
    podsOn: async () => pods,
    policies: async () => [policy({ retries: 0 })],
    migrations: () =>
      pods.map(({ metadata }) => ({
        apiVersion: 'podferry.io/v1alpha1',
        kind: 'Migration',
        metadata: {
          name: `m-${metadata.name}`,
          namespace: 'shop',
          labels: { 'podferry.io/policy': 'drains' },
          annotations: { 'podferry.io/pod-uid': metadata.uid ?? '' },
        },
        spec: { pod: metadata.name },
        status: ended,
      })),
  });
  expect(written?.pods).toHaveLength(500);
  expect(written).toMatchObject({ omitted: 10, counts: { Block: 510 } });
  expect(JSON.stringify(written).length).toBeLessThan(1_000_000);
});

test('an error is for the queue to repeat, and nothing is written', async () => {
  await expect(keep(object(), { podsOn: () => Promise.reject(new Error('gone')) })).rejects.toThrow('gone');
});
