import type { NodeCpu } from '../../../../src/api/agent.ts';
import type { Node } from '../../../../src/api/pod.ts';
import { comparable, cpuObstacle, leftOutWords, missingFeatures } from '../../../../src/plan/pods/cpu.ts';
import { node } from '../objects.ts';

const amd64 = (flags: string): NodeCpu => ({ architecture: 'amd64', vendor: 'GenuineIntel', features: flags.split(' ') });
const labelled = (name: string, architecture: string): Node => ({
  ...node(name),
  metadata: { name, labels: { 'kubernetes.io/arch': architecture } },
});

test('of amd64 only what programs can use counts, whatever the order', () => {
  expect(comparable(amd64('sse2 avx2 constant_tsc hypervisor avx2 fma svm')).features).toEqual(['avx2', 'fma', 'sse2']);
  expect(comparable({ architecture: 'arm64', vendor: '0x41', features: ['sve', 'atomics'] }).features).toEqual(['atomics', 'sve']);
});

test.each([
  ['the same', 'fpu sse2 avx2', 'avx2 fpu sse2', []],
  ['more on the destination', 'fpu sse2', 'fpu sse2 avx2 avx512f', []],
  ['less', 'fpu sse2 avx2 avx512f', 'fpu sse2', ['avx2', 'avx512f']],
  ['less of what no program sees', 'fpu sse2 constant_tsc vmx', 'fpu sse2', []],
  ['what CRIU does not compare and programs use', 'fpu fma', 'fpu', ['fma']],
])('what is missing: %s', (_case, source, other, missing) => {
  expect(missingFeatures(amd64(source), amd64(other))).toEqual(missing);
});

test('vendors may differ, as CRIU has it', () => {
  expect(missingFeatures(amd64('fpu'), { ...amd64('fpu'), vendor: 'AuthenticAMD' })).toEqual([]);
});

test('in words: the flags that are missing, or the architectures', () => {
  const at = (name: string, cpu?: NodeCpu, architecture?: string) => ({
    name,
    node: architecture ? labelled(name, architecture) : node(name),
    cpu,
  });
  expect(cpuObstacle(at('node-a', amd64('avx2 sse2')), at('node-b', amd64('sse2')))).toBe(
    'the CPU of node node-b lacks features of that of node node-a, which the pod may use: avx2',
  );
  expect(cpuObstacle(at('node-a', undefined, 'amd64'), at('node-b', undefined, 'arm64'))).toBe(
    'node node-b has another architecture (arm64) than node node-a (amd64), where the pod runs',
  );
  // Nodes without the label: their agents know.
  expect(cpuObstacle(at('node-a', amd64('avx2')), at('node-b', { ...amd64('avx2'), architecture: 'arm64' }))).toContain('arm64');
  const many = Array.from({ length: 20 }, (_, index) => `f${index}`);
  const arm = (features: string[]) => ({ architecture: 'arm64', vendor: '', features });
  expect(cpuObstacle(at('node-a', arm(many)), at('node-b', arm([])))).toMatch(/: f0, f1, (\S+, ){9}\S+ and 8 more$/);
});

test('what is not known is not held against a node', () => {
  const known = { name: 'node-a', node: labelled('node-a', 'amd64'), cpu: amd64('avx2') };
  const unknown = { name: 'node-b', node: undefined, cpu: undefined };
  expect(cpuObstacle(known, unknown)).toBeUndefined();
  expect(cpuObstacle(unknown, { ...known, cpu: amd64('sse') })).toBeUndefined();
});

test('nodes that were left out, in words that do not grow with the cluster', () => {
  expect(leftOutWords([])).toBeUndefined();
  expect(leftOutWords([{ nodes: ['node-b'], missing: ['avx2'] }])).toBe(
    'left out, as their CPUs lack features that the pod may use: node-b (avx2)',
  );
  const nodes = Array.from({ length: 5000 }, (_, index) => `node-${index}`);
  const words = leftOutWords(Array.from({ length: 30 }, () => ({ nodes, missing: ['avx2', 'fma'] })));
  expect(words).toContain('node-0, node-1, node-2, node-3, node-4 and 4995 more (avx2, fma); node-0');
  expect(words?.length).toBeLessThan(600);
});
