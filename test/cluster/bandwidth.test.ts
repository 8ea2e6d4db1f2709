import type { Migration, Step } from '../../src/api/migration.ts';
import { ask, counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { createPolicy, uncordon } from './support/drain.ts';
import { kubectl } from './support/lab.ts';
import { useNamespace } from './support/space.ts';

const space = useNamespace('test-bandwidth');
const policy = 'test-bandwidth';
const mebibyte = 2 ** 20;
const bytesPerSecond = 16 * mebibyte;

beforeAll(() => setPolicy({ warmRounds: 0 }));
async function setPolicy(more: object): Promise<void> {
  await kubectl('delete', 'migrationpolicy', policy, '--ignore-not-found');
  await createPolicy(policy, { podSelector: { matchLabels: { state: 'large' } }, limits: { bytesPerSecond }, ...more });
}
afterAll(async () => {
  await kubectl('delete', 'migrationpolicy', policy, '--ignore-not-found');
  for (const node of ['node-a', 'node-b']) await uncordon(node);
});

const at = ({ status }: Migration, step: Step) => Date.parse(status?.steps?.[step] ?? '');

/** Random memory, which does not compress; moved off node-a by stock kubectl. */
async function move(...names: string[]): Promise<Migration[]> {
  for (const name of names) {
    await space.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, labels: { run: names[0], state: 'large' } },
      spec: await counterSpec('node-a', { env: { MB: '64' } }),
    });
  }
  const before = await Promise.all(names.map(async (name) => counted(await space.ready(name))));
  const began = Date.now();
  await kubectl('drain', 'node-a', `--pod-selector=run=${names[0]}`, '--force', '--timeout=150s');
  const after = await Promise.all(names.map(async (name) => ask(await space.ready(name))));
  for (const [index, memory] of before.entries()) expectSameMemory(memory, after[index] as typeof memory, (Date.now() - began) / 1000);
  await uncordon('node-a');
  const all = await space.migrations();
  return Promise.all(names.map((name) => space.succeeded(all.find(({ spec }) => spec.pod === name) as Migration)));
}

it('a migration sends no faster than its policy allows', async () => {
  const [migration] = (await move('alone')) as [Migration];
  const bytes = migration.status?.bytesSent ?? 0;
  expect(bytes).toBeGreaterThan(64 * mebibyte);
  const seconds = (at(migration, 'shipped') - at(migration, 'checkpointed')) / 1000;
  // Less the burst, and what the controller hears late of the beginning.
  expect(seconds).toBeGreaterThan(bytes / bytesPerSecond - 0.7);
  expect(seconds).toBeLessThan(bytes / bytesPerSecond + 4);
}, 180_000);

it('several at once share it', async () => {
  const migrations = await move('first', 'second');
  const bytes = migrations.reduce((sum, { status }) => sum + (status?.bytesSent ?? 0), 0);
  expect(bytes).toBeGreaterThan(128 * mebibyte);
  const begins = migrations.map((migration) => at(migration, 'checkpointed'));
  const ends = migrations.map((migration) => at(migration, 'shipped'));
  // They were on their way at the same time, else this says nothing.
  expect(Math.max(...begins)).toBeLessThan(Math.min(...ends));
  const seconds = (Math.max(...ends) - Math.min(...begins)) / 1000;
  expect(seconds).toBeGreaterThan(bytes / bytesPerSecond - 1.2);
  expect(seconds).toBeLessThan(bytes / bytesPerSecond + 8);
}, 240_000);

it('what is sent ahead while the pod runs keeps to it too, and little is left for the freeze', async () => {
  await setPolicy({});
  const [migration] = (await move('warm')) as [Migration];
  const [{ warmBytes = [], bytesSent = Number.NaN } = {}] = migration.status?.containers ?? [];
  expect(warmBytes[0]).toBeGreaterThan(64 * mebibyte);
  expect(bytesSent).toBeLessThan(16 * mebibyte);
  const ahead = (at(migration, 'frozen') - at(migration, 'prepared')) / 1000;
  expect(ahead).toBeGreaterThan((warmBytes[0] ?? 0) / bytesPerSecond - 0.7);
  expect(at(migration, 'shipped') - at(migration, 'frozen')).toBeLessThan(3000);
}, 180_000);
