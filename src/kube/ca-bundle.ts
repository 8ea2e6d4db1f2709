import { secretNames } from '../api/names.ts';
import type { KubeClient } from './client.ts';
import { sleep } from './deadline.ts';
import { KubeError } from './errors.ts';
import { mutatingWebhookConfigurations, secrets, validatingWebhookConfigurations } from './resources.ts';
import type { KubeObject, Resource } from './types.ts';

export interface InjectOptions {
  /** podferry's own namespace. */
  namespace: string;
  signal?: AbortSignal | undefined;
}

/** Names of podferry's own configurations; whatever is in them is podferry's. */
export interface WebhookConfigurationNames {
  mutating: string[];
  validating: string[];
}

export interface InjectResult {
  /** Written by this call. */
  written: string[];
  /** Left to cert-manager's injector. */
  external: string[];
  /** Not there (yet): installations apply them last. */
  missing: string[];
}

interface WebhookConfiguration extends KubeObject {
  webhooks?: { clientConfig: { caBundle?: string; [field: string]: unknown }; [field: string]: unknown }[];
}

/** On configurations that cert-manager's injector fills. */
const injectorAnnotations = ['cert-manager.io/inject-ca-from', 'cert-manager.io/inject-ca-from-secret'];

/**
 * Tells the API server which CAs podferry's webhook is to be believed with: the `ca.crt` of the webhook's own Secret,
 * whoever made that, which holds every CA that is in use while they change.
 *
 * @throws KubeError when the Secret is missing or a configuration cannot be written
 */
export async function injectCaBundle(client: KubeClient, names: WebhookConfigurationNames, options: InjectOptions): Promise<InjectResult> {
  const { namespace, signal } = options;
  const secret = await client.get(secrets, { namespace, name: secretNames.webhook }, { signal });
  // Base64 in the Secret as in the configuration.
  const caBundle = secret.data?.['ca.crt'];
  if (!caBundle)
    throw new Error(`Secret ${namespace}/${secretNames.webhook} has no ca.crt, so the API server cannot be told which CA to trust`);
  const result: InjectResult = { written: [], external: [], missing: [] };
  const note = (name: string, outcome: Outcome) => {
    if (outcome !== 'unchanged') result[outcome].push(name);
  };
  for (const name of names.mutating) note(name, await inject(client, mutatingWebhookConfigurations, name, caBundle, signal));
  for (const name of names.validating) note(name, await inject(client, validatingWebhookConfigurations, name, caBundle, signal));
  return result;
}

type Outcome = keyof InjectResult | 'unchanged';

async function inject<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  name: string,
  caBundle: string,
  signal: AbortSignal | undefined,
): Promise<Outcome> {
  for (let attempt = 1; ; attempt++) {
    const configuration = (await client.find(resource, { name }, { signal })) as (T & WebhookConfiguration) | undefined;
    if (!configuration) return 'missing';
    if (injectorAnnotations.some((annotation) => configuration.metadata.annotations?.[annotation] !== undefined)) return 'external';
    const { webhooks = [] } = configuration;
    if (webhooks.every((webhook) => webhook.clientConfig.caBundle === caBundle)) return 'unchanged';
    const filled = webhooks.map((webhook) => ({ ...webhook, clientConfig: { ...webhook.clientConfig, caBundle } }));
    try {
      // As a whole and with its resourceVersion: webhooks are a list, and somebody may be applying a new version of it.
      await client.replace(resource, { ...configuration, webhooks: filled }, { signal });
      return 'written';
    } catch (error) {
      if (!(error instanceof KubeError && (error.isConflict || error.isNotFound)) || attempt >= 10) throw error;
      await sleep(20 * attempt * Math.random(), signal);
    }
  }
}
