import { preparePod } from '../plan/pods/prepare.ts';
import { podOf, type Workload } from '../plan/pods/template.ts';
import { migrationWarnings, warningOf } from '../plan/pods/warnings.ts';
import { policiesOf, preparingPolicy } from '../plan/policy/select.ts';
import { claimsOf } from './claims.ts';
import type { WebhookPorts } from './ports.ts';
import { pass, type Verdict } from './review.ts';

/** An AdmissionReview's request about a Deployment, StatefulSet, …, the parts in use. */
export interface WorkloadReview {
  uid: string;
  operation: string;
  namespace: string;
  workload: Workload;
}

/** An AdmissionReview of a workload, or why it is none. */
export function parseWorkload(body: unknown): { request: WorkloadReview } | { problem: string } {
  const review = body as { kind?: unknown; apiVersion?: unknown; request?: Record<string, unknown> } | null;
  const { uid, operation, namespace, object } = review?.request ?? {};
  const workload = object as Partial<Workload> | null | undefined;
  if (review?.kind !== 'AdmissionReview' || review.apiVersion !== 'admission.k8s.io/v1' || typeof uid !== 'string')
    return { problem: 'expected an AdmissionReview of admission.k8s.io/v1 with a request' };
  if (typeof operation !== 'string' || typeof namespace !== 'string' || !workload?.metadata || typeof workload.kind !== 'string')
    return { problem: 'the request is not about something that makes pods' };
  return { request: { uid, operation, namespace, workload: workload as Workload } };
}

/**
 * What a person who writes a Deployment (StatefulSet, Job, …) should know of the migration of its pods: these are
 * created by controllers, which read no warnings. Never refused.
 */
export async function reviewWorkload(ports: WebhookPorts, request: WorkloadReview, signal: AbortSignal): Promise<Verdict> {
  const { namespace, workload } = request;
  const pod = podOf(workload);
  if (!pod) return pass;
  const policies = policiesOf(ports.policies(), { namespace: ports.namespaceLabels(namespace), labels: pod.metadata.labels });
  if (!policies.length) return pass;
  const subject = `a pod of ${workload.kind} ${workload.metadata.name || (workload.metadata.generateName ?? '')}`;
  const claims = await claimsOf(ports, namespace, pod, signal);
  for (const claim of workload.spec?.volumeClaimTemplates ?? []) claims.set(claim.metadata.name, { claim });
  const { doubts } = preparePod(pod, preparingPolicy(policies)?.metadata.name);
  const warnings = [...migrationWarnings(pod, claims, subject), ...doubts.map((doubt) => warningOf(subject, doubt))];
  return warnings.length ? { allow: true, warnings } : pass;
}
