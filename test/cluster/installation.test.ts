import { X509Certificate } from 'node:crypto';
import { cluster } from './support/cluster.ts';
import { kubectl } from './support/lab.ts';
import { until } from './support/until.ts';

const system = 'podferry-system';
const secret = async (name: string, key: string) =>
  Buffer.from(await kubectl('-n', system, 'get', 'secret', name, '-o', `jsonpath={.data.${key.replace('.', '\\.')}}`), 'base64').toString();

/** Whether a ServiceAccount of podferry may do something (the API server's own answer). */
async function may(account: string, verb: string, group: string, resource: string, namespace?: string, name?: string): Promise<boolean> {
  const client = await cluster();
  const [plain = '', subresource] = resource.split('/');
  const answer = (await client.request({
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        user: `system:serviceaccount:${system}:${account}`,
        groups: ['system:serviceaccounts'],
        resourceAttributes: { verb, group, resource: plain, subresource, namespace, name },
      },
    },
  })) as { status: { allowed: boolean } };
  return answer.status.allowed;
}

describe('rights are the least that do', () => {
  it('the agent may checkpoint through the kubelet and read its own certificate, and nothing else', async () => {
    expect(await may('podferry-agent', 'create', '', 'nodes/checkpoint')).toBe(true);
    expect(await may('podferry-agent', 'get', '', 'secrets', system, 'podferry-agent-tls')).toBe(true);
    for (const [verb, resource] of [
      ['get', 'nodes/proxy'],
      ['create', 'nodes/proxy'],
      ['get', 'secrets'],
      ['list', 'secrets'],
      ['get', 'pods'],
      ['delete', 'pods'],
      ['get', 'nodes'],
    ] as const) {
      expect([verb, resource, await may('podferry-agent', verb, '', resource)]).toEqual([verb, resource, false]);
    }
    expect(await may('podferry-agent', 'get', '', 'secrets', system, 'podferry-ca')).toBe(false);
  });

  it('nobody of podferry reads secrets of the cluster, runs commands in pods, or may all', async () => {
    for (const account of ['podferry-agent', 'podferry-controller', 'podferry-webhook']) {
      for (const [verb, group, resource] of [
        ['get', '', 'secrets'],
        ['list', '', 'secrets'],
        ['create', '', 'pods/exec'],
        ['escalate', 'rbac.authorization.k8s.io', 'clusterroles'],
        ['*', '*', '*'],
        ['get', '', 'nodes/proxy'],
      ] as const) {
        expect([account, verb, resource, await may(account, verb, group, resource, 'default')]).toEqual([account, verb, resource, false]);
      }
    }
    expect(await may('podferry-webhook', 'delete', '', 'pods', 'default')).toBe(false);
  });

  it('the controller and the webhook pass the restricted Pod Security Standard', async () => {
    await kubectl('create', 'namespace', 'test-restricted');
    try {
      await kubectl('label', 'namespace', 'test-restricted', 'pod-security.kubernetes.io/enforce=restricted');
      for (const name of ['podferry-controller', 'podferry-webhook']) {
        const deployment = JSON.parse(await kubectl('-n', system, 'get', 'deployment', name, '-o', 'json')) as {
          spec: { template: { metadata: object; spec: object } };
        };
        const client = await cluster();
        const { metadata, spec } = deployment.spec.template;
        const pod = {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { ...metadata, name, namespace: 'test-restricted' },
          spec: { ...spec, serviceAccountName: 'default', serviceAccount: 'default', priorityClassName: undefined },
        };
        await until('the ServiceAccount is there', () =>
          client.request({ method: 'GET', path: '/api/v1/namespaces/test-restricted/serviceaccounts/default' }),
        );
        await client.request({ method: 'POST', path: '/api/v1/namespaces/test-restricted/pods', query: { dryRun: 'All' }, body: pod });
      }
    } finally {
      await kubectl('delete', 'namespace', 'test-restricted', '--wait=false');
    }
  });
});

describe('certificates', () => {
  it("are podferry's own, and the API server believes the webhook by them", async () => {
    const ca = new X509Certificate(await secret('podferry-ca', 'tls.crt'));
    for (const name of ['podferry-webhook-tls', 'podferry-agent-tls', 'podferry-controller-tls']) {
      const leaf = new X509Certificate(await secret(name, 'tls.crt'));
      expect(leaf.verify(ca.publicKey)).toBe(true);
      expect(leaf.validToDate.getTime() - Date.now()).toBeGreaterThan(24 * 3600_000);
    }
    const bundle = await kubectl('get', 'mutatingwebhookconfiguration', 'podferry', '-o', 'jsonpath={.webhooks[*].clientConfig.caBundle}');
    for (const text of bundle.split(' ')) expect(Buffer.from(text, 'base64').toString()).toContain(ca.toString().trim());
  });

  it('are made anew when they are lost, and are in use without a restart', async () => {
    const before = await secret('podferry-webhook-tls', 'tls.crt');
    const restarts = () => kubectl('-n', system, 'get', 'pods', '-o', 'jsonpath={.items[*].status.containerStatuses[*].restartCount}');
    const began = await restarts();
    await kubectl('-n', system, 'delete', 'secret', 'podferry-webhook-tls', 'podferry-agent-tls');
    await until(
      'the Secrets are there again',
      async () =>
        (await secret('podferry-webhook-tls', 'tls.crt')) !== before && (await secret('podferry-agent-tls', 'tls.crt')) ? true : undefined,
      75_000,
      1000,
    );
    // The webhook answers with the new one: what it refuses shows that the API server reached it.
    await until('the webhook answers', async () => {
      const words = await kubectl('-n', 'default', 'create', 'configmap', 'x', '--dry-run=server').catch(String);
      return words ? true : undefined;
    });
    const address = await kubectl(
      '-n',
      system,
      'get',
      'pods',
      '-l',
      'app.kubernetes.io/component=webhook',
      '-o',
      'jsonpath={.items[0].status.podIP}',
    );
    const { connect } = await import('node:tls');
    const served = await until('the new certificate is served', async () => {
      const socket = connect({ host: address, port: 9443, rejectUnauthorized: false });
      await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
      const certificate = socket.getPeerX509Certificate()?.toString().trim();
      socket.destroy();
      return certificate === before.trim() ? undefined : certificate;
    });
    expect(served).toBe((await secret('podferry-webhook-tls', 'tls.crt')).trim());
    expect(await restarts()).toBe(began);
  });
});

it('each process says that it lives, that it is ready, and how it does', async () => {
  // Pods that an earlier test had replaced may still be on their way out.
  const pods = await until('two of each process are there, and no others', async () => {
    const { items } = JSON.parse(await kubectl('-n', system, 'get', 'pods', '-o', 'json')) as {
      items: { metadata: { labels: Record<string, string> }; status: { podIP: string } }[];
    };
    if (items.length !== 6) throw new Error(`${items.length} pods: ${await kubectl('-n', system, 'get', 'pods', '-o', 'wide')}`);
    return items;
  });
  for (const { metadata, status } of pods) {
    const port = metadata.labels['app.kubernetes.io/component'] === 'agent' ? 9442 : 8080;
    for (const path of ['healthz', 'readyz']) {
      const answer = await fetch(`http://${status.podIP}:${port}/${path}`);
      expect([path, answer.status, await answer.text()]).toEqual([path, 200, 'ok\n']);
    }
    expect(await (await fetch(`http://${status.podIP}:${port}/metrics`)).text()).toMatch(/process_resident_memory_bytes \d+/);
  }
});
