import type { Pod } from '../api/pod.ts';
import type { MigrationPolicy } from '../api/policy.ts';
import { preparePod } from '../plan/pods/prepare.ts';
import { debugWarnings, migrationWarnings, nameOf, warningOf } from '../plan/pods/warnings.ts';
import { policiesOf, preparingPolicy } from '../plan/policy/select.ts';
import { messageOf } from '../util/errors.ts';
import { claimsOf } from './claims.ts';
import type { WebhookPorts } from './ports.ts';
import { type AdmissionRequest, pass, type Verdict } from './review.ts';

/**
 * What is added to the answer about a new pod that may be created: where a policy covers the pod, warnings of what will
 * not migrate, and where it prepares pods, what makes this one migratable.
 */
export async function withPreparation(
  ports: WebhookPorts,
  request: AdmissionRequest,
  verdict: Verdict,
  signal: AbortSignal,
): Promise<Verdict> {
  if (!verdict.allow) return verdict;
  try {
    return await prepared(ports, request, verdict, signal);
  } catch (error) {
    // Pods that nobody asked podferry about must not depend on it.
    return { ...verdict, warnings: [...(verdict.warnings ?? []), `podferry: the pod was not prepared: ${messageOf(error)}`] };
  }
}

async function prepared(
  ports: WebhookPorts,
  request: AdmissionRequest,
  verdict: Verdict & { allow: true },
  signal: AbortSignal,
): Promise<Verdict> {
  const pod = verdict.pod ?? (request.object as Pod);
  const policies = coveringPolicies(ports, request, pod);
  if (!policies.length) return verdict;
  const { pod: ready, doubts } = preparePod(pod, preparingPolicy(policies)?.metadata.name);
  const changed = ready === pod ? verdict : { ...verdict, pod: ready };
  // The target of a migration, whose processes wait for it frozen: nobody reads what it is told.
  if (verdict.pod) return changed;
  const claims = await claimsOf(ports, request.namespace ?? '', pod, signal);
  const warnings = [...migrationWarnings(pod, claims), ...doubts.map((doubt) => warningOf(nameOf(pod), doubt))];
  return warnings.length ? { ...changed, warnings: [...(verdict.warnings ?? []), ...warnings] } : changed;
}

/** An ephemeral container is added to a pod (kubectl debug). */
export function reviewDebugging(ports: WebhookPorts, request: AdmissionRequest): Verdict {
  const pod = request.object as Pod;
  if (!coveringPolicies(ports, request, pod).length) return pass;
  const warnings = debugWarnings(pod, request.oldObject ?? undefined);
  return warnings.length ? { allow: true, warnings } : pass;
}

function coveringPolicies(ports: WebhookPorts, { namespace = '' }: AdmissionRequest, { metadata }: Pod): MigrationPolicy[] {
  return policiesOf(ports.policies(), { namespace: ports.namespaceLabels(namespace), labels: metadata.labels });
}
