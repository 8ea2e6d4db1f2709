import type { KubeClient } from './client.ts';
import { Informer } from './informer.ts';
import { readKeyPair } from './key-pair.ts';
import { secrets } from './resources.ts';

/** What `tls.createServer`, `server.setSecureContext` and undici's `connect` take. PEM. */
export interface TlsMaterial {
  cert: string;
  key: string;
  /** Every CA that is to be trusted, more than one while they change. */
  ca: string;
}

export interface TlsSecret {
  /** As seen last; stays what it was when the Secret goes or becomes useless. */
  readonly current: TlsMaterial | undefined;
  /** Resolves as soon as there is a usable one. @throws the signal's reason */
  ready(signal: AbortSignal): Promise<TlsMaterial>;
  /** Milliseconds since the API server said anything about it. */
  lastEventAge(): number;
  stop(): Promise<void>;
}

/**
 * Follows one Secret of type kubernetes.io/tls, so that certificates are swapped without a restart. A role that allows
 * `list` and `watch` on just this resource name is enough (the field selector names it).
 *
 * @param onChange with every new usable content; one whose key does not fit its certificate is reported to `onError`
 */
export function watchTlsSecret(
  client: KubeClient,
  namespace: string,
  name: string,
  onChange: (material: TlsMaterial) => void,
  onError: (error: unknown) => void = () => {},
): TlsSecret {
  let current: TlsMaterial | undefined;
  const first = Promise.withResolvers<TlsMaterial>();
  const take = (secret: { data?: { [key: string]: string } }) => {
    const text = (key: string) => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();
    const material = { cert: text('tls.crt'), key: text('tls.key'), ca: text('ca.crt') };
    if (current && material.cert === current.cert && material.key === current.key && material.ca === current.ca) return;
    if (!readKeyPair(material) || !material.ca)
      throw new Error(`Secret ${namespace}/${name} holds no usable tls.crt, tls.key and ca.crt; not taken into use`);
    current = material;
    first.resolve(material);
    onChange(material);
  };
  const informer = new Informer(client, secrets, { namespace, fieldSelector: `metadata.name=${name}`, onError });
  informer.addHandlers({ add: take, update: take });
  informer.start();
  return {
    get current() {
      return current;
    },
    async ready(signal) {
      if (current) return current;
      signal.throwIfAborted();
      const aborted = Promise.withResolvers<never>();
      const abort = () => aborted.reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      try {
        return await Promise.race([first.promise, aborted.promise]);
      } finally {
        signal.removeEventListener('abort', abort);
      }
    },
    lastEventAge: () => informer.lastEventAge(),
    stop: () => informer.stop(),
  };
}
