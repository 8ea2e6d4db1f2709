import type { NodeSelectorTerm, PodSpec } from '../../../../src/api/pod.ts';
import { placeholderName, placeholderPod } from '../../../../src/plan/pods/placeholder.ts';
import { deepFreeze, digest, migration, migrationUid, namespace, type PodChange, pod, running } from '../objects.ts';

const image = 'registry.k8s.io/pause:3.10';
const made = (change: PodChange = {}, spec: Parameters<typeof migration>[0] = {}) =>
  placeholderPod(deepFreeze(migration(spec)), deepFreeze(pod(change)), image);
const termsOf = (spec: PodSpec): NodeSelectorTerm[] | undefined =>
  spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
const notTheSource = { key: 'metadata.name', operator: 'NotIn', values: ['node-a'] };

test('it asks the scheduler for what the pod asked', () => {
  const asked = {
    nodeSelector: { disk: 'ssd' },
    tolerations: [{ key: 'spot', operator: 'Exists' }],
    topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule', labelSelector: {} }],
    priorityClassName: 'high',
    runtimeClassName: 'runc',
    schedulerName: 'own-scheduler',
    imagePullSecrets: [{ name: 'pull' }],
    serviceAccountName: 'web',
    os: { name: 'linux' },
    resources: { requests: { cpu: '3' } },
  };
  expect(made({ spec: asked }).spec).toMatchObject(asked);
  // What it did not say is not made up.
  const { spec } = made();
  for (const field of Object.keys(asked)) expect(spec).not.toHaveProperty(field);
});

test('the requests of all containers that run, sidecars included, and nothing of theirs runs', () => {
  const resources = { requests: { cpu: '2', memory: '1Gi' }, limits: { memory: '2Gi' } };
  const { spec } = made({
    spec: {
      initContainers: [
        { name: 'setup', image: 'setup:v1' },
        { name: 'proxy', image: 'proxy:v1', restartPolicy: 'Always', resources },
      ],
      containers: [
        {
          name: 'app',
          image: 'web:v1',
          resources,
          command: ['/web'],
          env: [{ name: 'SECRET', value: 'x' }],
          ports: [{ containerPort: 80 }],
        },
      ],
    },
  });
  expect(spec.containers.map(({ name, resources: asked }) => [name, asked])).toEqual([
    ['proxy', resources],
    ['app', resources],
  ]);
  expect(spec.initContainers).toBeUndefined();
  for (const container of spec.containers) {
    expect(container).toMatchObject({ image, imagePullPolicy: 'IfNotPresent' });
    const { volumeMounts: _images, ...rest } = container;
    expect(Object.keys(rest).sort()).toEqual(['image', 'imagePullPolicy', 'lifecycle', 'name', 'resources', 'securityContext']);
  }
});

test('ports of the node are held, and free as soon as it is removed', () => {
  const ports = [{ containerPort: 8080 }, { containerPort: 80, hostPort: 80, protocol: 'TCP' }];
  const { spec } = made({
    spec: {
      containers: [
        { name: 'app', image: 'web:v1', ports },
        { name: 'other', image: 'web:v1' },
      ],
    },
  });
  expect(spec.containers[0]?.ports).toEqual([ports[1]]);
  expect(spec.containers.map(({ lifecycle }) => lifecycle)).toEqual([undefined, undefined]);
  expect(spec.terminationGracePeriodSeconds).toBe(0);
});

test('its kubelet takes it down when the target has been created', () => {
  const { containers, terminationGracePeriodSeconds } = made().spec;
  expect(containers).toMatchObject([{ lifecycle: { preStop: { sleep: { seconds: 2 } } } }]);
  expect(terminationGracePeriodSeconds).toBe(3);
});

test('base images come as image volumes by digest, each once; claims come along, other volumes do not', () => {
  const claim = { name: 'data', persistentVolumeClaim: { claimName: 'data' } };
  const { spec } = made({
    spec: {
      containers: [
        { name: 'app', image: 'web:v1' },
        { name: 'copy', image: 'web:v1' },
        { name: 'other', image: 'other:v1' },
      ],
      volumes: [claim, { name: 'cache', emptyDir: {} }, { name: 'conf', configMap: { name: 'conf' } }],
    },
    status: { containerStatuses: [running('app', 'a'), running('copy', 'a'), running('other', 'b')] },
  });
  expect(spec.volumes).toEqual([
    { name: 'base-0', image: { reference: `web@${digest('a')}`, pullPolicy: 'IfNotPresent' } },
    { name: 'base-1', image: { reference: `other@${digest('b')}`, pullPolicy: 'IfNotPresent' } },
    claim,
  ]);
  // Mounted, else the kubelet neither waits for the pull nor tells of its failure; the claims are only there for the scheduler.
  const mounted = spec.containers.flatMap(({ volumeMounts }) => volumeMounts ?? []);
  expect(mounted.map(({ name, readOnly }) => [name, readOnly])).toEqual([
    ['base-0', true],
    ['base-1', true],
  ]);
});

test('a claim may be called as the image volumes are', () => {
  const claims = ['base-0', 'xbase-1'].map((name) => ({ name, persistentVolumeClaim: { claimName: name } }));
  const { spec } = made({
    spec: { containers: [{ name: 'app', image: 'web:v1' }], volumes: claims },
    status: { containerStatuses: [running('app', 'a')] },
  });
  expect(spec.volumes?.map(({ name }) => name)).toEqual(['xxbase-0', 'base-0', 'xbase-1']);
  expect(spec.containers[0]?.volumeMounts?.map(({ name }) => name)).toEqual(['xxbase-0']);
});

test("none of the pod's labels and annotations; it belongs to the Migration", () => {
  const { metadata } = made({
    metadata: { labels: { app: 'web', 'pod-template-hash': '7d9f' }, annotations: { 'podferry.io/migrate-to': 'auto' } },
  });
  expect(metadata).toEqual({
    name: placeholderName(migration()),
    namespace,
    labels: {
      'app.kubernetes.io/name': 'podferry',
      'app.kubernetes.io/managed-by': 'podferry',
      'podferry.io/role': 'placeholder',
      'podferry.io/migration': 'move-web',
    },
    ownerReferences: [{ apiVersion: 'podferry.io/v1alpha1', kind: 'Migration', name: 'move-web', uid: migrationUid }],
  });
  const long = made({}, { metadata: { name: 'm'.repeat(253) } });
  expect(long.metadata.labels?.['podferry.io/migration']).toHaveLength(63);
});

test('it passes the Pod Security Standard "restricted" and needs no token', () => {
  const { spec } = made({ spec: { containers: [{ name: 'app', image: 'web', securityContext: { runAsUser: 0 } }] } });
  expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
  expect((spec.securityContext as { runAsUser: number }).runAsUser).toBeGreaterThan(0);
  for (const { securityContext } of spec.containers) {
    expect(securityContext).toMatchObject({ allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } });
    expect(securityContext).not.toHaveProperty('runAsUser');
  }
  expect(spec).toMatchObject({ automountServiceAccountToken: false });
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC', 'nodeName']) expect(spec).not.toHaveProperty(field);
});

test('never the source node, in every term; what the affinity says besides stays', () => {
  expect(termsOf(made().spec)).toEqual([{ matchFields: [notTheSource] }]);
  const zone = (value: string) => ({ matchExpressions: [{ key: 'zone', operator: 'In', values: [value] }] });
  const field = { key: 'metadata.name', operator: 'NotIn', values: ['node-x'] };
  const affinity = {
    podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'zone' }] },
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: zone('c') }],
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [zone('a'), { ...zone('b'), matchFields: [field] }] },
    },
  };
  const { spec } = made({ spec: { affinity } });
  expect(termsOf(spec)).toEqual([
    { ...zone('a'), matchFields: [notTheSource] },
    { ...zone('b'), matchFields: [field, notTheSource] },
  ]);
  expect(spec.affinity?.podAntiAffinity).toEqual(affinity.podAntiAffinity);
  expect(spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution).toEqual(
    affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution,
  );
});

test('the destination that was named, or the labels it must have', () => {
  const named = made({ spec: { nodeSelector: { disk: 'ssd' } } }, { spec: { destination: { nodeName: 'node-b' } } });
  expect(termsOf(named.spec)).toEqual([{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['node-b'] }] }]);
  expect(named.spec.nodeName).toBeUndefined();
  const selected = made({ spec: { nodeSelector: { disk: 'ssd', zone: 'a' } } }, { spec: { destination: { nodeSelector: { zone: 'b' } } } });
  expect(selected.spec.nodeSelector).toEqual({ disk: 'ssd', zone: 'b' });
  expect(termsOf(selected.spec)).toEqual([{ matchFields: [notTheSource] }]);
});

describe('nodes where it failed before', () => {
  const preferredOf = ({ affinity }: PodSpec) => affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution;
  const avoided = {
    weight: 100,
    preference: { matchFields: ['node-b', 'node-c'].map((name) => ({ key: 'metadata.name', operator: 'NotIn', values: [name] })) },
  };

  test('are taken only when no other fits: preferred is none of them, required is as ever', () => {
    const { spec } = made({}, { spec: { destination: { avoid: ['node-b', 'node-c'] } } });
    expect(preferredOf(spec)).toEqual([avoided]);
    expect(termsOf(spec)).toEqual([{ matchFields: [notTheSource] }]);
  });

  test('beside what the pod prefers itself, and beside the labels', () => {
    const own = { weight: 1, preference: { matchExpressions: [{ key: 'zone', operator: 'In', values: ['c'] }] } };
    const podAntiAffinity = { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'zone' }] };
    const affinity = { podAntiAffinity, nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [own] } };
    const { spec } = made({ spec: { affinity } }, { spec: { destination: { nodeSelector: { zone: 'b' }, avoid: ['node-b', 'node-c'] } } });
    expect(preferredOf(spec)).toEqual([own, avoided]);
    expect(spec.affinity?.podAntiAffinity).toEqual(podAntiAffinity);
    expect(spec.nodeSelector).toEqual({ zone: 'b' });
    expect(termsOf(spec)).toEqual([{ matchFields: [notTheSource] }]);
  });

  test('none of them: nothing is preferred', () => {
    for (const destination of [{}, { avoid: [] }]) expect(preferredOf(made({}, { spec: { destination } }).spec)).toBeUndefined();
  });
});

test("its name is the migration's alone, and short enough", () => {
  const name = placeholderName(migration());
  expect(name).toMatch(/^web-7d9f-abcde-room-[a-z0-9]{8}$/);
  expect(placeholderName(migration({ metadata: { uid: 'another' } }))).not.toBe(name);
  expect(placeholderName(migration({ spec: { pod: 'p'.repeat(253) } })).length).toBeLessThanOrEqual(63);
});

describe('CPUs', () => {
  const bounded = (nodes: string[], change: PodChange = {}, spec: Parameters<typeof migration>[0] = {}) =>
    placeholderPod(migration(spec), pod(change), image, { architecture: 'amd64', lacking: [{ nodes, missing: ['avx2'] }] }).spec;
  const arch = { key: 'kubernetes.io/arch', operator: 'In', values: ['amd64'] };
  const not = (name: string) => ({ key: 'metadata.name', operator: 'NotIn', values: [name] });

  test('the same architecture, and none of the nodes that lack something, in every alternative that the pod has', () => {
    expect(termsOf(bounded(['node-b', 'node-c']))).toEqual([
      { matchFields: [notTheSource, not('node-b'), not('node-c')], matchExpressions: [arch] },
    ]);
    const zones = ['x', 'y'].map((zone) => ({ key: 'zone', operator: 'In', values: [zone] }));
    const affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: zones.map((zone) => ({ matchExpressions: [zone] })) },
      },
    };
    expect(termsOf(bounded(['node-b'], { spec: { affinity } }))).toEqual(
      zones.map((zone) => ({ matchFields: [notTheSource, not('node-b')], matchExpressions: [zone, arch] })),
    );
  });

  test('a bounded number of names', () => {
    const nodes = Array.from({ length: 3000 }, (_, index) => `node-${index}`);
    expect(termsOf(bounded(nodes))?.[0]?.matchFields).toHaveLength(201);
  });

  test('a node that was named has been looked at before', () => {
    expect(termsOf(bounded(['node-b'], {}, { spec: { destination: { nodeName: 'node-b' } } }))).toEqual([
      { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['node-b'] }] },
    ]);
  });
});
