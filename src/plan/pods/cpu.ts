import type { NodeCpu } from '../../api/agent.ts';
import type { Node } from '../../api/pod.ts';

/**
 * Which nodes a process can go on on. It looked at the CPU once, when it began (libraries choose their code by it), so the
 * destination has to have all that the source has; it may have more.
 *
 * CRIU compares just so when it is told to (`--cpu-cap=ins,fpu`; criu/arch/x86/cpu.c, `cpu_validate_features`), but
 * runc does not tell it to, and then a restore seems to succeed and the process dies of an illegal instruction. So it
 * is compared here, before the freeze.
 */

/** The label that every kubelet gives its node; Go's name of the architecture. */
export const architectureLabel = 'kubernetes.io/arch';

/** CRIU's list (`x86_ins_capability_mask` and the checks of the FPU, CRIU 4.2), in the words of /proc/cpuinfo. */
const criuFlags = `
  fpu tsc cx8 sep cmov clflush mmx fxsr sse sse2 syscall mmxext rdtscp 3dnowext 3dnow rep_good nopl
  pni pclmulqdq monitor ssse3 cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand
  abm sse4a misalignsse 3dnowprefetch xop fma4 tbm
  fsgsbase bmi1 hle avx2 bmi2 erms rtm mpx avx512f avx512dq rdseed adx clflushopt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl
  xsaveopt xsavec xgetbv1 xsaves pku
  avx512vbmi avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq rdpid
  clzero avx512_4vnniw avx512_4fmaps`;

/** Instructions that programs choose in the same way and CRIU's list does not have. */
const moreFlags = `
  fma avx512ifma avx512_bf16 avx512_fp16 avx512_vp2intersect avx_vnni avx_ifma avx_vnni_int8 avx_ne_convert amx_tile amx_int8 amx_bf16 amx_fp16
  sha512 sm3 sm4 movdiri movdir64b waitpkg clwb cldemote serialize`;

const amd64Flags = new Set(`${criuFlags} ${moreFlags}`.split(/\s+/).filter(Boolean));

/**
 * What of a CPU counts. Of amd64 not all flags are instructions; elsewhere the kernel lists what programs may use
 * (`Features` of arm64, `features` of s390x), or nothing.
 */
export function comparable({ architecture, vendor, features }: NodeCpu): NodeCpu {
  const matter = architecture === 'amd64' ? features.filter((flag) => amd64Flags.has(flag)) : features;
  return { architecture, vendor, features: [...new Set(matter)].sort() };
}

/** What the source's CPU has and the other lacks; empty when a process of the source can go on there. */
export function missingFeatures(source: NodeCpu, other: NodeCpu): string[] {
  const has = new Set(comparable(other).features);
  return comparable(source).features.filter((flag) => !has.has(flag));
}

/** Why a process cannot go on there, in words, or undefined. What is not known is not held against a node. */
export function cpuObstacle(
  source: { name: string; node: Node | undefined; cpu: NodeCpu | undefined },
  destination: { name: string; node: Node | undefined; cpu: NodeCpu | undefined },
): string | undefined {
  const [from, to] = [source, destination].map(({ node, cpu }) => node?.metadata.labels?.[architectureLabel] ?? cpu?.architecture);
  if (from !== undefined && to !== undefined && from !== to) {
    return `node ${destination.name} has another architecture (${to}) than node ${source.name} (${from}), where the pod runs`;
  }
  if (!source.cpu || !destination.cpu) return undefined;
  const missing = missingFeatures(source.cpu, destination.cpu);
  if (missing.length === 0) return undefined;
  return `the CPU of node ${destination.name} lacks features of that of node ${source.name}, which the pod may use: ${featureWords(missing)}`;
}

/** Nodes whose CPU lacks the same. */
export interface LackingNodes {
  nodes: readonly string[];
  missing: readonly string[];
}

/** Which nodes were left out, in words; undefined when none was. */
export function leftOutWords(lacking: readonly LackingNodes[]): string | undefined {
  if (lacking.length === 0) return undefined;
  const words = lacking.map(({ nodes, missing }) => `${listed(nodes, 5)} (${featureWords(missing)})`);
  return `left out, as their CPUs lack features that the pod may use: ${words.slice(0, 5).join('; ')}${words.length > 5 ? '; and others' : ''}`;
}

function featureWords(missing: readonly string[]): string {
  return listed(missing, 12);
}

function listed(words: readonly string[], most: number): string {
  return words.length > most ? `${words.slice(0, most).join(', ')} and ${words.length - most} more` : words.join(', ');
}
