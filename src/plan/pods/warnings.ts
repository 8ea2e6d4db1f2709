import type { NodeSelectorTerm, Pod, Volume } from '../../api/pod.ts';
import { runningContainers } from '../../api/pod.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../api/volume.ts';
import { problemsOf } from './support.ts';

/** What is known of a claim; without a volume while it is not bound, or when nobody may say. */
export interface ClaimFacts {
  claim: PersistentVolumeClaim;
  volume?: PersistentVolume | undefined;
}

/**
 * What a person who creates a pod should know of its migration, most important first: what it cannot do, what it may not
 * do, what it does not take along.
 *
 * @param claims by name; those that are not there were not found or could not be read, and nothing is said of them
 * @param subject who it is about
 */
export function migrationWarnings(pod: Pod, claims: ReadonlyMap<string, ClaimFacts>, subject = nameOf(pod)): string[] {
  const volumes = (pod.spec.volumes ?? []).flatMap((volume) => volumeWarnings(volume, claims));
  const attached = runningContainers(pod).filter(({ stdin, tty }) => stdin && !tty);
  return [
    ...problemsOf(pod).map((problem) => `cannot migrate: it ${problem}`),
    ...volumes,
    ...attached.map(({ name }) => `loses who is attached to it when it migrates: container ${name} has stdin: true`),
  ].map((warning) => warningOf(subject, warning));
}

/** What somebody who debugs a pod (kubectl debug) should know; nothing when there is no new ephemeral container. */
export function debugWarnings(pod: Pod, before: Pod | undefined): string[] {
  const known = new Set(namesOf(before));
  return namesOf(pod)
    .filter((name) => !known.has(name))
    .map((name) => warningOf(nameOf(pod), `cannot migrate while its ephemeral container ${name} runs: end it before the pod has to move`));
}

/** A warning as kubectl shows it. */
export function warningOf(subject: string, words: string): string {
  return `podferry: ${subject} ${words}`;
}

/** A pod in words. The name of a new one of an owner is not known yet. */
export function nameOf({ metadata: { name, generateName } }: Pod): string {
  return `pod ${name || (generateName ? `${generateName}…` : '')}`;
}

function namesOf(pod: Pod | undefined): string[] {
  return (pod?.spec.ephemeralContainers ?? []).map((container) => (container as { name: string }).name);
}

function volumeWarnings({ name, persistentVolumeClaim, ephemeral }: Volume, claims: ReadonlyMap<string, ClaimFacts>): string[] {
  if (ephemeral) return [`migrates without its volume ${name}: a generic ephemeral volume is made new, and empty, for each pod`];
  const facts = persistentVolumeClaim && claims.get(persistentVolumeClaim.claimName);
  if (!facts) return [];
  const volume = `its volume ${name} (PersistentVolumeClaim ${facts.claim.metadata.name})`;
  const node = onlyNode(facts.volume?.spec?.nodeAffinity?.required?.nodeSelectorTerms ?? []);
  if (node !== undefined) return [`cannot migrate: ${volume} is on node ${node} only`];
  const { accessModes = [] } = facts.claim.spec ?? {};
  if (accessModes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany')) return [];
  if (accessModes.includes('ReadWriteOncePod'))
    return [`cannot migrate: ${volume} is ReadWriteOncePod, and while a pod moves two of them use it`];
  if (accessModes.includes('ReadWriteOnce'))
    return [`may not be able to migrate: ${volume} is ReadWriteOnce; storage that only one node may attach does not move`];
  return [];
}

/** By these keys a node affinity names one node (`kubernetes.io/hostname`, `topology.hostpath.csi/node`, `openebs.io/nodename`). */
const nodeKey = /(^|\/)(hostname|node|nodename|metadata\.name)$/;

/** The one node that a node affinity allows; undefined when it allows several, or names none. Terms are alternatives. */
function onlyNode(terms: NodeSelectorTerm[]): string | undefined {
  const nodes = terms.map(({ matchExpressions = [], matchFields = [] }) => {
    const named = [...matchExpressions, ...matchFields].find(
      ({ key, operator, values }) => nodeKey.test(key) && operator === 'In' && values?.length === 1,
    );
    return named?.values?.[0];
  });
  return new Set(nodes).size === 1 ? nodes[0] : undefined;
}
