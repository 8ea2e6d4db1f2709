import type { Container } from '../../../../src/api/pod.ts';
import { controllerOf, refusePod, refusePodNow } from '../../../../src/plan/pods/support.ts';
import { deepFreeze, ownedBy, type PodChange, pod, running } from '../objects.ts';

const container = (change: Partial<Container>): PodChange => ({ spec: { containers: [{ name: 'app', ...change }] } });
const mount = (readOnly: boolean): Partial<Container> => ({ volumeMounts: [{ name: 'logs', mountPath: '/logs', readOnly }] });
const hostPath = { name: 'logs', hostPath: { path: '/var/log' } };

describe('what can never migrate', () => {
  const refused: [string, PodChange, RegExp][] = [
    ['a mirror pod', { metadata: { annotations: { 'kubernetes.io/config.mirror': 'x' } } }, /static pod/],
    ['a pod of a Node', { metadata: ownedBy('Node', 'node-a') }, /static pod/],
    ['a pod of a DaemonSet', { metadata: ownedBy('DaemonSet', 'logger') }, /DaemonSet logger/],
    ['a pod of an owner nobody knows', { metadata: ownedBy('Rollout', 'canary') }, /controlled by Rollout canary/],
    ['hostNetwork', { spec: { hostNetwork: true } }, /hostNetwork/],
    ['hostPID', { spec: { hostPID: true } }, /hostPID/],
    ['hostIPC', { spec: { hostIPC: true } }, /hostIPC/],
    ['resource claims', { spec: { resourceClaims: [{ name: 'gpu' }] } }, /resourceClaims/],
    ['a privileged container', container({ securityContext: { privileged: true } }), /container app that is privileged/],
    ['a block device', container({ volumeDevices: [{ name: 'disk', devicePath: '/dev/xvda' }] }), /container app that uses block devices/],
    ['a terminal', container({ tty: true }), /container app that has a terminal/],
    ['a device', container({ resources: { limits: { cpu: '1', 'nvidia.com/gpu': '1' } } }), /nvidia\.com\/gpu/],
    [
      'a hostPath it can write to',
      { spec: { containers: [{ name: 'app', ...mount(false) }], volumes: [hostPath] } },
      /hostPath volume logs/,
    ],
    [
      'a hostPath a sidecar can write to',
      { spec: { initContainers: [{ name: 'proxy', restartPolicy: 'Always', ...mount(false) }], volumes: [hostPath] } },
      /hostPath volume logs/,
    ],
    ['a privileged sidecar', { spec: { initContainers: [{ name: 'proxy', restartPolicy: 'Always', tty: true }] } }, /container proxy/],
  ];

  test.each(refused)('%s', (_what, change, message) => {
    const refusal = refusePod(deepFreeze(pod(change)));
    expect(refusal).toEqual({ reason: 'PodNotSupported', message: expect.stringMatching(message) });
    expect(refusal?.message).toContain('pod shop/web-7d9f-abcde');
  });
});

describe('what can', () => {
  const fine: [string, PodChange][] = [
    ['a pod without an owner', {}],
    ...['ReplicaSet', 'ReplicationController', 'Job', 'StatefulSet'].map((kind): [string, PodChange] => [
      `a pod of a ${kind}`,
      { metadata: ownedBy(kind) },
    ]),
    ['an owner that does not control it', { metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Rollout', name: 'x', uid: 'x' }] } }],
    ['a hostPath that is read', { spec: { containers: [{ name: 'app', ...mount(true) }], volumes: [hostPath] } }],
    ['a hostPath that nothing mounts', { spec: { volumes: [hostPath] } }],
    ['huge pages and its own resources', container({ resources: { limits: { 'hugepages-2Mi': '4Mi', 'ephemeral-storage': '1Gi' } } })],
    [
      'init containers that have done their work, whatever they were',
      { spec: { initContainers: [{ name: 'setup', tty: true, securityContext: { privileged: true } }] } },
    ],
  ];

  test.each(fine)('%s', (_what, change) => expect(refusePod(deepFreeze(pod(change)))).toBeUndefined());
});

describe('what cannot now', () => {
  const sidecar = { initContainers: [{ name: 'setup' }, { name: 'proxy', restartPolicy: 'Always' }] };
  const refused: [string, PodChange, RegExp][] = [
    ['being deleted', { metadata: { deletionTimestamp: '2026-11-24T10:00:00Z' } }, /is being deleted/],
    ['Pending', { status: { phase: 'Pending' } }, /is Pending/],
    ['Succeeded', { status: { phase: 'Succeeded' } }, /is Succeeded/],
    ['a container that waits', { status: { containerStatuses: [{ name: 'app', state: { waiting: {} } }] } }, /container app of/],
    ['a container of which nothing is known', { status: { containerStatuses: [] } }, /container app of/],
    [
      'a sidecar that ended',
      { spec: sidecar, status: { initContainerStatuses: [{ name: 'proxy', state: { terminated: { exitCode: 1 } } }] } },
      /container proxy of/,
    ],
  ];

  test.each(refused)('%s', (_what, change, message) => {
    const refusal = refusePodNow(deepFreeze(pod(change)));
    expect(refusal).toEqual({ reason: 'PodNotRunning', message: expect.stringMatching(message) });
    expect(refusal?.message).toContain('pod shop/web-7d9f-abcde');
  });

  test('not scheduled yet', () => {
    const waiting = pod();
    delete waiting.spec.nodeName;
    expect(refusePodNow(waiting)?.reason).toBe('PodNotRunning');
    delete waiting.status;
    expect(refusePodNow(waiting)?.message).toContain('is not scheduled');
  });

  test('with all containers running it can; init containers that ended do not count', () => {
    expect(refusePodNow(pod())).toBeUndefined();
    const ended = { name: 'setup', state: { terminated: { exitCode: 0 } } };
    expect(refusePodNow(pod({ spec: sidecar, status: { initContainerStatuses: [ended, running('proxy', 'b')] } }))).toBeUndefined();
  });
});

test('of several owners the one that controls', () => {
  const [controller] = ownedBy('ReplicaSet').ownerReferences;
  const other = { apiVersion: 'v1', kind: 'ConfigMap', name: 'x', uid: 'x' };
  expect(controllerOf(pod({ metadata: { ownerReferences: [other, controller as NonNullable<typeof controller>] } }))?.kind).toBe(
    'ReplicaSet',
  );
  expect(controllerOf(pod({ metadata: { ownerReferences: [other] } }))).toBeUndefined();
  expect(controllerOf(pod())).toBeUndefined();
});
