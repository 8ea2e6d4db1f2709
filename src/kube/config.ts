import { KubeConfig } from '@kubernetes/client-node/dist/config.js';

export type { KubeConfig };

/** Beyond the file itself nothing is contacted here; a wrong address shows at the first call. */
export interface ConfigSource {
  /** Path of a kubeconfig. Left out: `$KUBECONFIG`, then the Pod's own ServiceAccount, then `~/.kube/config`. */
  kubeconfig?: string | undefined;
  /** Context of the kubeconfig; left out: its current one. */
  context?: string | undefined;
}

/**
 * Who to talk to, and as whom. Inside of a pod that is the pod's ServiceAccount, whose token client-node reads again
 * every minute (the kubelet rotates it); CA and certificates named by path are read again too.
 *
 * @throws Error that names the file when there is no usable configuration
 */
export function loadConfig(source: ConfigSource = {}): KubeConfig {
  const config = new KubeConfig();
  const words = source.kubeconfig ?? process.env.KUBECONFIG ?? 'the default places (in-cluster, ~/.kube/config)';
  try {
    if (source.kubeconfig) config.loadFromFile(source.kubeconfig);
    else if (process.env.KUBERNETES_SERVICE_HOST && !process.env.KUBECONFIG) config.loadFromCluster();
    else config.loadFromDefault();
  } catch (error) {
    throw new Error(`no usable kubeconfig in ${words}`, { cause: error });
  }
  if (source.context) {
    if (!config.getContextObject(source.context)) throw new Error(`the kubeconfig ${words} has no context "${source.context}"`);
    config.setCurrentContext(source.context);
  }
  // What client-node makes up when it finds nothing.
  if (config.getCurrentCluster()?.server === 'http://localhost:8080') throw new Error(`no kubeconfig in ${words}`);
  if (!config.getCurrentCluster()) throw new Error(`the kubeconfig ${words} names no cluster for its context "${config.currentContext}"`);
  return config;
}

export interface ServerAndUser {
  /** `https://HOST:PORT` */
  server: string;
  /** PEM. Left out: the system's. */
  ca?: string | undefined;
  /** Client certificate and key, PEM. */
  cert?: string | undefined;
  key?: string | undefined;
  token?: string | undefined;
}

/** A configuration without a file. Plain HTTP is for tests: nothing is checked and no credentials are worth sending. */
export function configOf({ server, ca, cert, key, token }: ServerAndUser): KubeConfig {
  const base64 = (pem: string) => Buffer.from(pem).toString('base64');
  const config = new KubeConfig();
  config.loadFromClusterAndUser(
    { name: 'cluster', server, skipTLSVerify: server.startsWith('http:'), ...(ca ? { caData: base64(ca) } : {}) },
    { name: 'user', ...(cert ? { certData: base64(cert) } : {}), ...(key ? { keyData: base64(key) } : {}), ...(token ? { token } : {}) },
  );
  return config;
}

/** The namespace this pod runs in, or the kubeconfig context's; `undefined` outside of both. */
export function ownNamespace(config: KubeConfig): string | undefined {
  return config.getContextObject(config.currentContext)?.namespace?.trim() || undefined;
}
