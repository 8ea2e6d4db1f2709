import { writeFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import type { Migration } from '../../src/api/migration.ts';
import type { Pod } from '../../src/api/pod.ts';
import { ask, counted, counterContainer, counterSpec } from './support/counter.ts';
import { imageOf } from './support/images.ts';
import { kubectl, lab } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-bad-input');
const annotate = (pod: string, node: string, ...more: string[]) =>
  kubectl('-n', space.name, 'annotate', 'pod', pod, `podferry.io/migrate-to=${node}`, ...more);

async function bare(name: string, options = {}, fields = {}): Promise<Pod> {
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: await counterSpec('node-a', options, fields) });
  return space.ready(name);
}

/** Refused at once, the pod untouched. */
async function refused(pod: Pod, why: RegExp): Promise<void> {
  await expect(annotate(pod.metadata.name, 'node-b')).rejects.toThrow(why);
  expect((await space.pod(pod.metadata.name)).metadata).toMatchObject({ uid: pod.metadata.uid });
  expect((await space.pod(pod.metadata.name)).metadata.annotations ?? {}).not.toHaveProperty(['podferry.io/migrate-to']);
  // The Migration object answers alike.
  const migration = await space.finished(
    await space.migrate(`of-${pod.metadata.name}`, { pod: pod.metadata.name, destination: { nodeName: 'node-b' } }),
  );
  expect(migration.status?.phase).toBe('Failed');
  expect(readyMessage(migration)).toMatch(why);
}

describe('a Migration object', () => {
  it('of a pod that does not exist', async () => {
    const migration = await space.finished(await space.migrate('of-nobody', { pod: 'nobody', destination: { nodeName: 'node-b' } }));
    expect(migration.status).toMatchObject({ phase: 'Failed', failure: { reason: 'PodNotFound' } });
    expect(readyMessage(migration)).toBe(`there is no pod ${space.name}/nobody`);
  });

  it('of a pod that runs there already', async () => {
    const pod = await bare('there');
    const migration = await space.finished(await space.migrate('there', { pod: pod.metadata.name, destination: { nodeName: 'node-a' } }));
    expect(migration.status).toMatchObject({ phase: 'Failed', failure: { reason: 'AlreadyThere' } });
  });

  it('in a namespace that is not enabled', async () => {
    const name = 'test-not-enabled';
    await kubectl('create', 'namespace', name);
    try {
      const file = await manifest({
        apiVersion: 'podferry.io/v1alpha1',
        kind: 'Migration',
        metadata: { name: 'any', namespace: name },
        spec: { pod: 'any' },
      });
      await kubectl('create', '-f', file);
      const message = await until(
        'it is refused',
        async () =>
          (await kubectl('-n', name, 'get', 'mig', 'any', '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].message}')) || undefined,
      );
      expect(message).toContain(`kubectl label namespace ${name} podferry.io/enabled=true`);
    } finally {
      await kubectl('delete', 'namespace', name, '--wait=false');
    }
  });
});

describe('a pod that cannot move says why', () => {
  it('not running yet', async () => {
    await space.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'waiting' },
      spec: await counterSpec(undefined, {}, { nodeSelector: { 'example.org/none': 'such' } }),
    });
    await refused(await space.pod('waiting'), /waiting is (Pending|not scheduled); only a Running pod has a state to move/);
  });

  it('of a DaemonSet', async () => {
    const template = { metadata: { labels: { app: 'daemon' } }, spec: await counterSpec() };
    await space.create({
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'daemon' },
      spec: { selector: { matchLabels: { app: 'daemon' } }, template },
    });
    const [pod] = await space.allReady('app=daemon', 2);
    await refused(pod as Pod, /belongs to DaemonSet daemon: every node has its own/);
  });

  it("of the host network, of the host's processes, privileged", async () => {
    const port = 18_080;
    await refused(
      await bare('networked', { port }, { hostNetwork: true }),
      /uses hostNetwork: its sockets and addresses belong to the node/,
    );
    await refused(await bare('watcher', {}, { hostPID: true }), /uses hostPID: its processes are numbered in the namespace of the node/);
    await refused(await bare('mighty', { securityContext: { privileged: true } }), /has container counter that is privileged/);
  });

  it('static', async () => {
    const spec = {
      // A kubelet removes one that it knows nothing of.
      nodeName: 'nowhere',
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'shell', image: await imageOf('shell'), args: ['-c', 'while :; do sleep 1; done'] }],
    };
    const mirror = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'static' }, spec };
    // As the kubelet registers a static pod.
    await space.create({ ...mirror, metadata: { ...mirror.metadata, annotations: { 'kubernetes.io/config.mirror': 'x' } } });
    await refused(await space.pod('static'), /is a static pod: it belongs to its node/);
  });
});

describe('an annotation', () => {
  it('with something that is no node', async () => {
    await bare('fine');
    await expect(annotate('fine', 'No/Node')).rejects.toThrow(/"No\/Node" is neither the name of a node nor "auto"/);
  });

  it('on a new pod or in a template', async () => {
    const spec = await counterSpec();
    await expect(
      space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'new', annotations: { 'podferry.io/migrate-to': 'node-b' } }, spec }),
    ).rejects.toThrow(/belongs on a running pod, not on a new one/);
  });

  it("of podferry's own", async () => {
    const spec = await counterSpec();
    const forged = { 'podferry.io/migration': 'x', 'podferry.io/migration-uid': 'y' };
    await expect(space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'forged', annotations: forged }, spec })).rejects.toThrow(
      /only podferry itself sets the annotation/,
    );
    await bare('honest');
    await expect(kubectl('-n', space.name, 'annotate', 'pod', 'honest', 'podferry.io/request=me')).rejects.toThrow(
      /only podferry itself sets the annotation podferry.io\/request/,
    );
  });

  it('by somebody who may edit pods but not make Migrations', async () => {
    await bare('guarded');
    await space.create({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: 'pods' },
      rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'patch', 'create'] }],
    });
    await space.create({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'mallory' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'pods' },
      subjects: [{ kind: 'User', name: 'mallory' }],
    });
    await expect(annotate('guarded', 'node-b', '--as=mallory')).rejects.toThrow(
      /user mallory may not create migrations.podferry.io in namespace test-bad-input/,
    );
    const heir = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: 'heir',
        namespace: space.name,
        annotations: { 'podferry.io/migrate-from': 'guarded', 'podferry.io/destination': 'node-b' },
      },
      spec: await counterSpec(),
    };
    await expect(kubectl('create', '--as=mallory', '-f', await manifest(heir))).rejects.toThrow(
      /user mallory may not create migrations.podferry.io/,
    );
    expect((await space.migrations()).filter(({ spec }) => spec.pod === 'guarded')).toEqual([]);
  });

  it('for a pod that is on its way already', async () => {
    const pod = await bare('twice', { env: { MB: '64' } });
    const before = await counted(pod);
    // In one moment: whichever claims the pod first, the other has to see it.
    const destination = { nodeName: 'node-b' };
    const names = ['one', 'other'];
    const both = await Promise.all(names.map((name) => space.migrate(name, { pod: 'twice', destination })));
    const ends = await Promise.all(both.map((migration) => space.finished(migration)));
    const [refused, moved] = ends[0]?.status?.phase === 'Failed' ? ends : ends.toReversed();
    expect(refused?.status).toMatchObject({ phase: 'Failed', failure: { reason: 'AlreadyMigrating' } });
    expect(moved?.status).toMatchObject({ phase: 'Succeeded' });
    expect(readyMessage(refused as Migration)).toContain(`is already moved by Migration ${moved?.metadata.name}`);
    expect((await ask(await space.ready('twice'))).birth).toBe(before.birth);
  });
});

describe('what reaches the webhook itself', () => {
  /** To the webhook's Service address, believed by the CA that the API server was given. */
  async function post(body: string | Buffer): Promise<{ status: number; text: string }> {
    const address = await kubectl(
      '-n',
      'podferry-system',
      'get',
      'endpointslices',
      '-l',
      'kubernetes.io/service-name=podferry-webhook',
      '-o',
      'jsonpath={.items[0].endpoints[0].addresses[0]}',
    );
    const ca = Buffer.from(
      await kubectl('get', 'mutatingwebhookconfiguration', 'podferry', '-o', 'jsonpath={.webhooks[0].clientConfig.caBundle}'),
      'base64',
    ).toString();
    const dispatcher = new Agent({ connect: { ca, servername: 'podferry-webhook.podferry-system.svc' } });
    try {
      const answer = await request(`https://${address}:9443/mutate-pods`, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/json' },
        dispatcher,
      });
      return { status: answer.statusCode, text: await answer.body.text() };
    } finally {
      await dispatcher.close();
    }
  }

  it('no JSON, no AdmissionReview, too much: each a clear answer', async () => {
    expect(await post('{"kind":')).toMatchObject({ status: 400 });
    expect(await post('[]')).toEqual({ status: 400, text: expect.stringContaining('expected an AdmissionReview of admission.k8s.io/v1') });
    expect(await post('{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}')).toEqual({
      status: 400,
      text: expect.stringContaining('has no request with a uid'),
    });
    const odd = await post(
      '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","kind":{"group":"","version":"v1","kind":"Secret"}}}',
    );
    expect(odd.status).toBe(200);
    expect(JSON.parse(odd.text)).toMatchObject({
      kind: 'AdmissionReview',
      response: { uid: 'u', allowed: false, status: { code: 400, message: expect.stringContaining('not about a Pod') } },
    });
    expect(await post(Buffer.alloc(8 << 20, 0x20))).toMatchObject({ status: 413 });
    // And it still works.
    expect(
      await kubectl(
        '-n',
        'podferry-system',
        'get',
        'pods',
        '-l',
        'app.kubernetes.io/component=webhook',
        '-o',
        'jsonpath={.items[*].status.containerStatuses[*].restartCount}',
      ),
    ).toMatch(/^0( 0)*$/);
  });
});

async function manifest(object: object): Promise<string> {
  const path = `${(await lab()).stateDirectory}/bad-input.json`;
  await writeFile(path, JSON.stringify(object));
  return path;
}

it('unrelated pods never depend on podferry', async () => {
  const container = await counterContainer();
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'plain', annotations: { 'example.org/a': 'b' } },
    spec: { terminationGracePeriodSeconds: 1, containers: [container] },
  });
  const pod = await space.ready('plain');
  expect(pod.spec.containers[0]?.image).toBe(container.image);
  expect(Object.keys(pod.metadata.annotations ?? {})).toEqual(['example.org/a']);
});
