import { KubeClient } from '../../../src/kube/client.ts';
import { loadConfig } from '../../../src/kube/config.ts';
import { lab } from './lab.ts';

let admin: KubeClient | undefined;

/** The cluster admin's client. */
export async function cluster(): Promise<KubeClient> {
  if (!admin) {
    const { kubeconfig } = await lab();
    admin = new KubeClient(loadConfig({ kubeconfig }), { userAgent: 'podferry-tests' });
  }
  return admin;
}

/** Ends its connections; `cluster` makes new ones. */
export async function closeCluster(): Promise<void> {
  await admin?.close();
  admin = undefined;
}
