import type { KubeClient } from '../../src/kube/client.ts';

export interface Metrics {
  /** What the webhook itself took to answer evictions. */
  webhook: { answers: number; meanMilliseconds: number };
  /** ValidatingAdmissionPolicies (podferry's is the only one) in the API server: what they took of all creations, for a pod created. */
  policy: { pods: number; meanMilliseconds: number };
  /** Looks at Migrations of all controllers that still run, and how many of their steps failed. */
  reconciles: { count: number; meanMilliseconds: number; failures: number };
}

/** Sums of Prometheus' samples by name, those whose labels match. */
function sum(text: string, name: string, labels = ''): number {
  return text
    .split('\n')
    .filter((line) => (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) && line.includes(labels))
    .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

export async function metricsOf(client: KubeClient, webhook: number, controllers: number[]): Promise<Metrics> {
  const of = async (port: number) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const hook = await of(webhook);
  const all = (await Promise.all(controllers.map(of))).join('\n');
  const api = String(await client.request({ method: 'GET', path: '/metrics' }));
  const histogram = (text: string, name: string, labels = '') => {
    const count = sum(text, `${name}_count`, labels);
    return { count, meanMilliseconds: count ? Math.round((sum(text, `${name}_sum`, labels) / count) * 1e5) / 100 : 0 };
  };
  const reviews = histogram(hook, 'podferry_reviews_seconds', 'operation="EVICT"');
  const created = sum(api, 'apiserver_request_duration_seconds_count', 'resource="pods",scope="resource",subresource="",verb="POST"');
  const policies = sum(
    api,
    'apiserver_admission_controller_admission_duration_seconds_sum',
    'name="ValidatingAdmissionPolicy",operation="CREATE"',
  );
  return {
    webhook: { answers: reviews.count, meanMilliseconds: reviews.meanMilliseconds },
    policy: { pods: created, meanMilliseconds: Math.round((policies / created) * 1e4) / 10 },
    reconciles: { ...histogram(all, 'podferry_reconcile_seconds'), failures: sum(all, 'podferry_reconcile_failures_total') },
  };
}
