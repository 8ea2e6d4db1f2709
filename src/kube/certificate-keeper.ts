import { type InjectResult, injectCaBundle, type WebhookConfigurationNames } from './ca-bundle.ts';
import { type CertificateOptions, type CertificateState, ensureCertificates } from './certificates.ts';
import type { KubeClient } from './client.ts';
import { backoff, sleep } from './deadline.ts';

export interface KeeperOptions extends CertificateOptions {
  webhookConfigurations: WebhookConfigurationNames;
  /** How often things are looked at although nothing is due: somebody may delete a Secret or apply a manifest. Milliseconds, default 60,000. */
  interval?: number | undefined;
  onRound?: ((certificates: CertificateState, bundle: InjectResult) => void) | undefined;
  onError?: ((error: unknown) => void) | undefined;
}

/** Keeps certificates and CA bundles right until the signal aborts; failures are reported and tried again. Never throws. */
export async function keepCertificates(client: KubeClient, options: KeeperOptions, signal: AbortSignal): Promise<void> {
  const { interval = 60_000, clock = () => new Date() } = options;
  let failures = 0;
  while (!signal.aborted) {
    let wait = interval;
    try {
      const certificates = await ensureCertificates(client, { ...options, signal });
      const bundle = await injectCaBundle(client, options.webhookConfigurations, { namespace: options.namespace, signal });
      options.onRound?.(certificates, bundle);
      failures = 0;
      if (certificates.nextRenewal) wait = Math.min(wait, Math.max(1000, certificates.nextRenewal.getTime() - clock().getTime()));
      // An installation is under way; without the bundle its webhook is not believed.
      if (bundle.missing.length > 0) wait = Math.min(wait, 5000);
    } catch (error) {
      if (signal.aborted) return;
      failures++;
      wait = backoff(failures, 1000, interval);
      options.onError?.(error);
    }
    await sleep(wait, signal).catch(() => {});
  }
}
