import type { Pod } from '../api/pod.ts';
import type { ClaimFacts } from '../plan/pods/warnings.ts';
import type { WebhookPorts } from './ports.ts';

/** How long who creates waits at most for what is only told as a warning. Milliseconds. */
const patience = 1000;

/** What can be learnt of a pod's claims in time. Nothing is refused for what it is only warned of, so this never fails. */
export async function claimsOf(ports: WebhookPorts, namespace: string, pod: Pod, signal: AbortSignal): Promise<Map<string, ClaimFacts>> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
  const names = new Set((pod.spec.volumes ?? []).flatMap(({ persistentVolumeClaim: claim }) => (claim ? [claim.claimName] : [])));
  const claims = new Map<string, ClaimFacts>();
  const read = async (name: string) => {
    const claim = await ports.getVolumeClaim(namespace, name, limit);
    if (!claim) return;
    claims.set(name, { claim });
    const { volumeName } = claim.spec ?? {};
    if (volumeName) claims.set(name, { claim, volume: await ports.getVolume(volumeName, limit) });
  };
  await Promise.allSettled([...names].map(read));
  return claims;
}
