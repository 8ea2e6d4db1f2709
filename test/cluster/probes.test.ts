import { ask, counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { onNode } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-probes');

const liveness = (periodSeconds: number, failureThreshold: number) => ({
  livenessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds, failureThreshold },
});

async function counterWith(name: string, probes: object) {
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: await counterSpec('node-a', { env: { MB: '4' }, ...probes }),
  });
  return counted(await space.ready(name));
}

it('a pod whose liveness probe leaves no time is refused with the numbers', async () => {
  const before = await counterWith('hasty', liveness(1, 1));
  const migration = await space.finished(await space.annotate('hasty', 'node-b'));
  expect(migration.status).toMatchObject({ phase: 'Failed', failure: { reason: 'FreezeBudgetTooSmall' } });
  expect(readyMessage(migration)).toMatch(/may be frozen for 0 ms, and a checkpoint needs at least 2000 ms/);
  expect((await ask(await space.ready('hasty'))).birth).toBe(before.birth);
});

it('a pod whose probe leaves enough moves, and is not restarted', async () => {
  const before = await counterWith('patient', liveness(10, 3));
  const began = performance.now();
  const migration = await space.succeeded(await space.annotate('patient', 'node-b'));
  expect(migration.status?.freezeBudgetMilliseconds).toBe(20_000);
  const target = await space.ready('patient');
  expectSameMemory(before, await ask(target), (performance.now() - began) / 1000);
  expect(target.status?.containerStatuses?.[0]?.restartCount).toBe(0);
});

it('a pod that is frozen for longer than its probe allows is resumed in time', async () => {
  const before = await counterWith('short', liveness(2, 3));
  // A registry that takes the upload and does not answer.
  await onNode('control', 'pkill', '-STOP', '-f', 'docker-registry serve');
  try {
    const migration = await space.finished(
      await space.migrate('short', { pod: 'short', destination: { nodeName: 'node-b' }, transfer: 'Registry' }),
      60_000,
    );
    expect(migration.status).toMatchObject({ phase: 'Failed', failure: { reason: 'TimedOut' }, freezeBudgetMilliseconds: 4000 });
    expect(readyMessage(migration)).toMatch(/frozen for 4000 ms, and its liveness probe would have killed it soon.*runs on on node node-a/);
  } finally {
    await onNode('control', 'pkill', '-CONT', '-f', 'docker-registry serve');
  }
  const pod = await space.ready('short');
  await until('it counts on', async () => ((await ask(pod)).count > before.count ? true : undefined));
  expect((await ask(pod)).birth).toBe(before.birth);
  expect((await space.pod('short')).status?.containerStatuses?.[0]?.restartCount).toBe(0);
});
