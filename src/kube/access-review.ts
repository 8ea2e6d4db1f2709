import type { KubeClient } from './client.ts';
import type { CallOptions } from './types.ts';

/** Who asks, as an AdmissionReview's `userInfo` has it. */
export interface Subject {
  username?: string | undefined;
  uid?: string | undefined;
  groups?: string[] | undefined;
  extra?: Record<string, string[]> | undefined;
}

export interface Access {
  group: string;
  /** Plural name, e.g. `migrations`. */
  resource: string;
  subresource?: string | undefined;
  namespace: string;
  name?: string | undefined;
}

export interface AccessVerdict {
  allowed: boolean;
  /** The authorizer's words, with what went wrong while it looked. May be empty. */
  reason: string;
}

/** Asks the API server's authorizers whether somebody may create such an object (SubjectAccessReview). */
export function mayCreate(client: KubeClient, subject: Subject, access: Access, options: CallOptions = {}): Promise<AccessVerdict> {
  return may(client, subject, 'create', access, options);
}

/** @throws KubeError when there is no verdict; whoever asks must refuse then */
export async function may(
  client: KubeClient,
  subject: Subject,
  verb: string,
  access: Access,
  options: CallOptions = {},
): Promise<AccessVerdict> {
  const spec = {
    user: subject.username,
    uid: subject.uid,
    groups: subject.groups,
    extra: subject.extra,
    resourceAttributes: { verb, ...access },
  };
  // It reads and stores nothing, so it may be repeated; POST only because of its body.
  const answer = (await client.request({
    ...options,
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    body: { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec },
  })) as { status?: { allowed?: boolean; denied?: boolean; reason?: string; evaluationError?: string } };
  const { allowed = false, denied = false, reason, evaluationError } = answer.status ?? {};
  return { allowed: allowed && !denied, reason: [reason, evaluationError].filter(Boolean).join('; ') };
}
