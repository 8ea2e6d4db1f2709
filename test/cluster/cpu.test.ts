import { isFinished } from '../../src/api/migration.ts';
import { ask, counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { handle, kubectl, onNode } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-cpu');

/** Something that every amd64 machine of the last fifteen years has. */
const flag = 'ssse3';

/** Bind-mounts in the mount namespace of the agent, whose image has no mount(8): setns and mount by their numbers on amd64. */
const mount = `
my ($pid) = split /\\n/, qx(pgrep -f "main.js agent");
open my $ns, "<", "/proc/$pid/ns/mnt" or die "no agent: $!";
syscall(308, fileno($ns), 0x20000) == 0 or die "setns: $!";
my ($from, $to, $type) = ("/var/lib/podferry/cpuinfo", "/proc/cpuinfo", "none");
syscall(165, $from, $to, $type, 4096, 0) == 0 or die "mount: $!";
`;

async function restart(workload: string): Promise<void> {
  await kubectl('-n', 'podferry-system', 'rollout', 'restart', workload);
  await kubectl('-n', 'podferry-system', 'rollout', 'status', workload, '--timeout=90s');
}

/** A new agent has a mount namespace of its own, and the controller asks it again. */
async function giveBackFlag(): Promise<void> {
  await onNode('node-b', 'rm', '-f', '/var/lib/podferry/cpuinfo');
  await restart('daemonset/podferry-agent');
}

beforeAll(async () => {
  await onNode('node-b', 'sh', '-c', `sed 's/ ${flag} / /' /proc/cpuinfo > /var/lib/podferry/cpuinfo`);
  await handle('node', 'node-b', 'perl', '-e', mount);
  // It knows the CPUs already, and a CPU changes with its machine only.
  await restart('deployment/podferry-controller');
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'counter' }, spec: await counterSpec('node-a') });
}, 180_000);
let given = false;
afterAll(async () => {
  if (!given) await giveBackFlag();
}, 180_000);

it('a node whose CPU lacks a feature is refused by name, and left out where the scheduler chooses', async () => {
  const pod = await space.ready('counter');
  const before = await counted(pod);
  const named = await space.finished(await space.annotate('counter', 'node-b'));
  expect(named.status?.failure).toEqual({
    reason: 'CPUIncompatible',
    message: `the CPU of node node-b lacks features of that of node node-a, which the pod may use: ${flag}`,
  });
  expect(named.status?.steps).not.toHaveProperty('accepted');

  const chosen = await space.annotate('counter', 'auto');
  const words = await until('the migration says why it waits', async () => {
    const migration = await space.migration(chosen.metadata.name);
    return readyMessage(migration).includes(flag) && !isFinished(migration) ? readyMessage(migration) : undefined;
  });
  expect(words).toMatch(/^no node can take the pod: 0\/\d nodes are available/);
  expect(words).toContain(`left out, as their CPUs lack features that the pod may use: node-b (${flag})`);
  await kubectl('-n', space.name, 'delete', 'migration', chosen.metadata.name);

  const same = await space.pod('counter');
  expect([same.metadata.uid, same.spec.nodeName]).toEqual([pod.metadata.uid, 'node-a']);
  expectSameMemory(before, await ask(same), 120);
}, 180_000);

it('with the feature it moves', async () => {
  await giveBackFlag();
  given = true;
  const before = await ask(await space.pod('counter'));
  const began = Date.now();
  const migration = await space.annotate('counter', 'auto');
  await space.succeeded(migration);
  const moved = await space.ready('counter');
  expect(moved.spec.nodeName).toBe('node-b');
  expectSameMemory(before, await ask(moved), (Date.now() - began) / 1000);
}, 240_000);
