import { readFile } from 'node:fs/promises';
import type { NodeCpu } from '../api/agent.ts';

/** Go's names for architectures, from Node.js's. */
const architectures: Record<string, string> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', mipsel: 'mipsle' };

/** This node's CPU, read each time: a few kilobytes that the kernel makes up. */
export async function readCpu(path = '/proc/cpuinfo'): Promise<NodeCpu> {
  return { architecture: architectures[process.arch] ?? process.arch, ...parseCpuinfo(await readFile(path, 'utf8')) };
}

/** Names of the lines differ by architecture: `flags` (x86), `Features` (arm64), `features` (s390x). */
export function parseCpuinfo(text: string): Pick<NodeCpu, 'vendor' | 'features'> {
  const valuesOf = (name: RegExp) => [...new Set([...text.matchAll(name)].map(([, value = '']) => value.trim()))];
  const [first = '', ...others] = valuesOf(/^(?:flags|features)\s*:(.*)$/gim);
  // Cores of one machine may differ: a process has to be able to go on on each.
  const rest = others.map((line) => new Set(line.split(/\s+/)));
  const features = first.split(/\s+/).filter((flag) => flag && rest.every((has) => has.has(flag)));
  const [vendor = ''] = valuesOf(/^(?:vendor_id|CPU implementer)\s*:(.*)$/gim);
  return { vendor, features };
}
