import type { Pod } from '../../src/api/pod.ts';
import { ask, counted, counterContainer, counterSpec, expectSameMemory } from './support/counter.ts';
import { onNode } from './support/lab.ts';
import { useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-warm');
const mebibyte = 2 ** 20;

async function create(name: string, spec: object): Promise<Pod> {
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
  return space.ready(name, 60_000);
}

/** Moves it and looks at its memory. @returns what was sent ahead and after the freeze, by container */
async function move(pod: Pod, ports: number[], destination: string, fields: { warmRounds?: number } = {}) {
  const before = await Promise.all(ports.map((port) => counted(pod, 5, port)));
  const began = performance.now();
  const { name } = pod.metadata;
  const made = await space.migrate(`${name}-${destination}`, { pod: name, destination: { nodeName: destination }, ...fields });
  const { status } = await space.succeeded(made, 120_000);
  const moved = await space.ready(name, 60_000);
  expect(moved.spec.nodeName).toBe(destination);
  const after = await Promise.all(ports.map((port) => ask(moved, port)));
  for (const [index, memory] of before.entries())
    expectSameMemory(memory, after[index] as typeof memory, (performance.now() - began) / 1000);
  return { moved, containers: status?.containers ?? [] };
}

it('large memory is sent ahead while the pod runs, and of it only what changed after the freeze; then the same back', async () => {
  const pod = await create('idle', await counterSpec('node-a', { env: { MB: '600', LOAD: 'idle5' } }));
  const there = await move(pod, [8080], 'node-b');
  expect(there.containers[0]?.warmBytes?.[0]).toBeGreaterThan(600 * mebibyte);
  expect(there.containers[0]?.bytesSent).toBeLessThan(450 * mebibyte);
  // Restored from two files, and whole.
  const back = await move(there.moved, [8080], 'node-a');
  expect(back.containers[0]?.warmBytes?.[0]).toBeGreaterThan(600 * mebibyte);
}, 240_000);

it('not when it is not wanted', async () => {
  const pod = await create('cold', await counterSpec('node-a', { env: { MB: '600' } }));
  const { containers } = await move(pod, [8080], 'node-b', { warmRounds: 0 });
  expect(containers[0]?.warmBytes).toBeUndefined();
  expect(containers[0]?.bytesSent).toBeGreaterThan(600 * mebibyte);
}, 180_000);

it('of several containers, each its own', async () => {
  const spec = await counterSpec('node-a', { env: { MB: '300' } });
  const second = await counterContainer({ name: 'second', port: 8081, env: { MB: '300' } });
  const pod = await create('two', { ...spec, containers: [...spec.containers, second] });
  const { containers } = await move(pod, [8080, 8081], 'node-b');
  for (const { warmBytes, bytesSent } of containers) {
    expect(warmBytes?.[0]).toBeGreaterThan(300 * mebibyte);
    expect(bytesSent).toBeLessThan(50 * mebibyte);
  }
}, 180_000);

it('leaves nothing of it on the disks', async () => {
  await until('the memory is gone', async () => {
    const left = await Promise.all(
      ['node-a', 'node-b'].map((node) =>
        onNode(node, 'sh', '-c', 'find /var/lib/podferry -name "pages-*.img" -o -path "*/blobs/sha256/*" | head'),
      ),
    );
    return left.join('') === '' ? true : undefined;
  });
});
