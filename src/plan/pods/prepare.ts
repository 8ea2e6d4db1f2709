import { notes } from '../../api/names.ts';
import type { Container, EnvVar, Pod } from '../../api/pod.ts';
import { isSidecar, runningContainers } from '../../api/pod.ts';
import { problemsOf } from './support.ts';

/** What was changed, as the annotation has it. */
export interface Preparation {
  /** The MigrationPolicy that asked for it. */
  policy: string;
  /** Paths of the fields, e.g. `spec.containers[app].env[GODEBUG]`. */
  changed: string[];
}

export interface Prepared {
  /** The same object when there was nothing to do. */
  pod: Pod;
  /** What could not be prepared, each as a sentence about the pod that lacks its subject. */
  doubts: string[];
}

const variable = 'GODEBUG';
const setting = 'multipathtcp';
const off = `${setting}=0`;

/**
 * The pod as it is to be created so that CRIU can dump it, with the least change: Go listens without Multipath TCP
 * (GODEBUG, Go 1.24 and later), and the runtime's seccomp profile keeps io_uring away. What somebody chose is never
 * changed. Prepared again, the pod stays as it is; so does one that cannot migrate whatever is done.
 *
 * @param policy undefined: no policy prepares this pod
 */
export function preparePod(pod: Pod, policy: string | undefined): Prepared {
  if (policy === undefined || problemsOf(pod).length) return { pod, doubts: [] };
  const changed: string[] = [];
  const doubts: string[] = [];
  const withoutMultipath = (list: string) => (container: Container) => {
    if (list === 'initContainers' && !isSidecar(container)) return container;
    const env = envOf(container);
    if ('doubt' in env) doubts.push(`has container ${container.name} ${env.doubt}`);
    if (!('env' in env)) return container;
    changed.push(`spec.${list}[${container.name}].env[${variable}]`);
    return { ...container, env: env.env };
  };
  const spec = { ...pod.spec, containers: pod.spec.containers.map(withoutMultipath('containers')) };
  if (spec.initContainers) spec.initContainers = spec.initContainers.map(withoutMultipath('initContainers'));

  const ofPod = spec.securityContext?.seccompProfile;
  if (!ofPod && runningContainers(pod).some((container) => !container.securityContext?.seccompProfile)) {
    spec.securityContext = { ...spec.securityContext, seccompProfile: { type: 'RuntimeDefault' } };
    changed.push('spec.securityContext.seccompProfile');
  }
  for (const { name, securityContext } of runningContainers(pod)) {
    if ((securityContext?.seccompProfile ?? ofPod)?.type === 'Unconfined')
      doubts.push(`has container ${name} with seccompProfile Unconfined: if it uses io_uring, CRIU cannot dump it`);
  }
  if (!changed.length) return { pod, doubts };
  const record: Preparation = { policy, changed: [...new Set([...changedBefore(pod), ...changed])] };
  const annotations = { ...pod.metadata.annotations, [notes.prepared]: JSON.stringify(record) };
  return { pod: { ...pod, metadata: { ...pod.metadata, annotations }, spec }, doubts };
}

/** The environment with Multipath TCP off; nothing when that is settled, a doubt when somebody else settles it. */
function envOf({ env = [], envFrom }: Container): { env: EnvVar[] } | { doubt: string } | Record<never, never> {
  const index = env.findLastIndex(({ name }) => name === variable);
  const given = env[index];
  if (!given) {
    // What envFrom may set is kept: a reference to what does not exist stays as it is written, and Go passes it by.
    return { env: [...env, { name: variable, value: envFrom?.length ? `$(${variable}),${off}` : off }] };
  }
  const cure = 'a Go program that listens with Multipath TCP cannot be dumped by CRIU';
  const { value = '', valueFrom } = given;
  // Of a setting that is given twice the last counts (Go, package internal/godebug).
  const chosen = value.split(',').findLast((part) => part.startsWith(`${setting}=`));
  if (chosen !== undefined) return chosen === off ? {} : { doubt: `with ${variable} ${chosen}: ${cure}` };
  if (valueFrom || value.includes('$(')) return { doubt: `whose ${variable} comes from elsewhere and may lack ${off}: ${cure}` };
  return { env: env.with(index, { ...given, value: value ? `${value},${off}` : off }) };
}

/** What an earlier call has changed; nothing when the annotation is damaged. */
function changedBefore(pod: Pod): string[] {
  try {
    const { changed }: Partial<Preparation> = JSON.parse(pod.metadata.annotations?.[notes.prepared] ?? '{}') ?? {};
    return Array.isArray(changed) ? changed.filter((path) => typeof path === 'string') : [];
  } catch {
    return [];
  }
}
