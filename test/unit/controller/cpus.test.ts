import type { NodeCpu } from '../../../src/api/agent.ts';
import { type CpuPorts, Cpus } from '../../../src/controller/cpus.ts';

const patient = new AbortController().signal;
const minutes = 60_000;

/** A cluster of nodes whose agents say what their CPUs have; what was asked of them. */
function start(flags: Record<string, string>) {
  const asked: string[] = [];
  const agents = new Map(Object.keys(flags).map((name) => [name, `${name}/1`]));
  const state = { now: 0, silent: new Set<string>(), under: 0, most: 0 };
  const ports: CpuPorts = {
    nodes: () => [...agents.keys()],
    agentOf: (name) => agents.get(name),
    async ask(name): Promise<NodeCpu> {
      asked.push(name);
      state.most = Math.max(state.most, ++state.under);
      await new Promise(setImmediate);
      state.under--;
      if (state.silent.has(name)) throw new Error('404');
      const [architecture = '', ...features] = (flags[name] ?? '').split(' ');
      return { architecture, vendor: 'GenuineIntel', features };
    },
    now: () => state.now,
  };
  return { cpus: new Cpus(ports), asked, agents, state, flags };
}

test('nodes are told apart by what their CPUs have, however many there are, and asked once', async () => {
  const names = Array.from({ length: 500 }, (_, index) => `node-${index}`);
  const { cpus, asked, state } = start(
    Object.fromEntries(
      names.map((name, index) => [name, ['amd64 fpu avx2 vmx', 'amd64 avx2 fpu', 'amd64 fpu', 'arm64 sve'][index % 4] ?? '']),
    ),
  );
  await cpus.refresh(patient);
  expect([asked.length, state.most]).toEqual([500, 8]);
  const source = await cpus.of('node-0', patient);
  // What programs do not see makes no difference: the very same object.
  expect(await cpus.of('node-1', patient)).toBe(source);
  const lacking = cpus.lacking(source as NodeCpu);
  expect(lacking.map(({ missing }) => missing)).toEqual([['avx2']]);
  expect(lacking[0]?.nodes).toHaveLength(125);
  expect(lacking[0]?.nodes).toContain('node-2');
  await cpus.refresh(patient);
  expect(asked).toHaveLength(500);
});

test('asked again when its agent has started again, or after a quarter of an hour; forgotten with its agent', async () => {
  const { cpus, asked, agents, state, flags } = start({ a: 'amd64 fpu avx2', b: 'amd64 fpu avx2' });
  await cpus.refresh(patient);
  flags.b = 'amd64 fpu';
  state.now = 14 * minutes;
  await cpus.refresh(patient);
  expect(asked).toHaveLength(2);
  agents.set('b', 'b/2');
  const source = await cpus.of('a', patient);
  await cpus.refresh(patient);
  expect(asked).toHaveLength(3);
  expect(cpus.lacking(source as NodeCpu)).toEqual([{ nodes: ['b'], missing: ['avx2'] }]);
  state.now = 16 * minutes;
  await cpus.refresh(patient);
  expect(asked.slice(3)).toEqual(['a']);
  // What an earlier start has said is not held against the node; that its agent is away for a while changes nothing.
  agents.set('b', 'b/3');
  expect(cpus.lacking(source as NodeCpu)).toEqual([]);
  await cpus.refresh(patient);
  expect(cpus.lacking(source as NodeCpu)).toHaveLength(1);
  agents.delete('b');
  expect(cpus.lacking(source as NodeCpu)).toHaveLength(1);
  await cpus.refresh(patient);
  expect(cpus.lacking(source as NodeCpu)).toEqual([]);
  expect(await cpus.of('b', patient)).toBeUndefined();
});

test('one that is not known yet is asked when it matters, once for all who wait', async () => {
  const { cpus, asked } = start({ a: 'amd64 fpu' });
  const [first, second] = await Promise.all([cpus.of('a', patient), cpus.of('a', patient)]);
  expect(first?.features).toEqual(['fpu']);
  expect(second).toBe(first);
  expect(asked).toEqual(['a']);
});

test('an agent that does not answer is left alone for a while, and its node is not held back', async () => {
  const { cpus, asked, state } = start({ a: 'amd64 fpu', b: 'amd64' });
  state.silent.add('b');
  await cpus.refresh(patient);
  expect(await cpus.of('b', patient)).toBeUndefined();
  expect(cpus.lacking((await cpus.of('a', patient)) as NodeCpu)).toEqual([]);
  expect(asked.filter((name) => name === 'b')).toHaveLength(1);
  state.silent.clear();
  state.now = minutes;
  await cpus.refresh(patient);
  expect(cpus.lacking((await cpus.of('a', patient)) as NodeCpu)).toHaveLength(1);
});
