import type { Pod } from '../../../../src/api/pod.ts';
import { node, ownedBy, pod } from '../objects.ts';
import { actionTypes, ago, expectFailure, observeAt, placeholder, planOf, said, silent, targetIs } from './observations.ts';

const preparing = (change: Parameters<typeof observeAt>[1] = {}, status: Parameters<typeof observeAt>[2] = {}) =>
  observeAt('Preparing', change, status);
const late = { steps: { accepted: ago(121) } };
const onNodeB = { target: { nodeName: 'node-b' } };
const waiting = (reason: string, message?: string) =>
  placeholder({
    status: { phase: 'Pending', containerStatuses: [{ name: 'app', state: { waiting: { reason, ...(message ? { message } : {}) } } }] },
  });
const unschedulable = (): Pod => {
  const condition = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/2 nodes are available' };
  const made = placeholder({ status: { phase: 'Pending', conditions: [condition], containerStatuses: [] } });
  delete made.spec.nodeName;
  return made;
};

test('first room is made: the name is written down, then the placeholder created', () => {
  const plan = planOf(preparing({}, { placeholder: undefined as never }));
  expect(actionTypes(plan)).toEqual(['createPod']);
  const [action] = plan.actions.flat();
  expect(action?.type === 'createPod' && action.pod.metadata.name).toBe(plan.status?.placeholder);
  expect(action?.type === 'createPod' && action.pod.spec.containers[0]?.image).toBe('registry.k8s.io/pause:3.10');
  expect(plan).toMatchObject({ requeueAfter: 110_000, status: { phase: 'Preparing' } });
  expect(said(plan)?.reason).toBe('ChoosingDestination');
});

// Nothing bounds this: a placeholder that a quota or a policy refuses fails the action each time, and the Migration never ends.
test('a placeholder that cannot be created in time', () => {
  const plan = planOf(preparing({}, late));
  expect(plan.status?.phase).toBe('RollingBack');
  expect(plan.actions).toEqual([]);
});

test('while the scheduler looks, and while the node pulls', () => {
  const unscheduled = placeholder({ status: { phase: 'Pending', conditions: [], containerStatuses: [] } });
  delete unscheduled.spec.nodeName;
  const looks = planOf(preparing({ placeholder: unscheduled }));
  expect(looks).toMatchObject({ actions: [], requeueAfter: 110_000, status: { phase: 'Preparing' } });
  expect(said(looks)?.message).toBe('the scheduler looks for a node');
  const pulls = planOf(preparing({ placeholder: waiting('ContainerCreating') }));
  expect(said(pulls)?.message).toBe('node node-b pulls the base images');
  expectFailure(
    planOf(preparing({ placeholder: unscheduled }, late)),
    'RollingBack',
    'TimedOut',
    /no destination was ready in time.*scheduler/,
  );
  expectFailure(planOf(preparing({ placeholder: waiting('ContainerCreating') }, late)), 'RollingBack', 'TimedOut', /node-b pulls/);
});

test('no node has room: waited for as long as the time allows; said at once of a node that was named', () => {
  const waits = planOf(preparing({ placeholder: unschedulable() }));
  expect(waits).toMatchObject({ actions: [], requeueAfter: 110_000, status: { phase: 'Preparing' } });
  expect(said(waits)).toMatchObject({ reason: 'DestinationCannotTakePod', message: 'no node can take the pod: 0/2 nodes are available' });
  expectFailure(
    planOf(preparing({ placeholder: unschedulable() }, late)),
    'RollingBack',
    'DestinationCannotTakePod',
    /no node can take the pod/,
  );
  const named = preparing({ placeholder: unschedulable() });
  named.migration.spec.destination = { nodeName: 'node-b' };
  expectFailure(planOf(named), 'RollingBack', 'DestinationCannotTakePod', /node node-b cannot take the pod: 0\/2/);
});

test('the kubelet rejects the placeholder, or cannot pull a base image', () => {
  const rejected = placeholder({ status: { phase: 'Failed', reason: 'OutOfcpu', message: 'Node did not have enough resource' } });
  expectFailure(
    planOf(preparing({ placeholder: rejected })),
    'RollingBack',
    'PlaceholderRejected',
    /node-b rejected.*OutOfcpu Node did not have/,
  );
  for (const reason of ['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName']) {
    expectFailure(
      planOf(preparing({ placeholder: waiting(reason, 'not found') })),
      'RollingBack',
      'BaseImageUnavailable',
      /base image: not found/,
    );
  }
  expectFailure(
    planOf(preparing({ placeholder: waiting('ErrImagePull') })),
    'RollingBack',
    'BaseImageUnavailable',
    /base image: ErrImagePull/,
  );
});

test('a pull that failed may be a passing failure until the kubelet has tried again; a name that is none is not', () => {
  const young = (reason: string, seconds: number) => {
    const pod = waiting(reason, 'no basic auth credentials');
    pod.metadata.creationTimestamp = ago(seconds);
    return planOf(preparing({ placeholder: pod }));
  };
  const plan = young('ErrImagePull', 2);
  expect(plan).toMatchObject({ actions: [], status: { phase: 'Preparing' }, requeueAfter: 13_000 });
  expect(plan.status?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
    reason: 'BaseImageUnavailable',
    message: expect.stringContaining('no basic auth credentials'),
  });
  expectFailure(young('ImagePullBackOff', 15), 'RollingBack', 'BaseImageUnavailable', /no basic auth credentials/);
  expectFailure(young('InvalidImageName', 2), 'RollingBack', 'BaseImageUnavailable', /no basic auth credentials/);
});

test('the node that was chosen is written down before its agent is asked', () => {
  const plan = planOf(preparing({ placeholder: placeholder(), destination: undefined }));
  expect(plan).toMatchObject({ actions: [], status: { phase: 'Preparing', target: { nodeName: 'node-b' } } });
  const again = planOf(preparing({ placeholder: placeholder(), destination: targetIs('Unknown') }, onNodeB));
  expect(again.actions).toEqual([
    {
      type: 'setTarget',
      nodeName: 'node-b',
      request: {
        goal: 'Prepared',
        namespace: 'shop',
        transfer: 'Direct',
        containers: [{ name: 'app', baseImage: expect.stringContaining('@sha256:aaa') }],
        volumes: [],
      },
    },
  ]);
});

test('the volumes that travel are named to the destination', () => {
  const sourcePod = pod({
    metadata: ownedBy('ReplicaSet'),
    spec: {
      volumes: [
        { name: 'cache', emptyDir: {} },
        { name: 'conf', configMap: {} },
      ],
    },
  });
  const plan = planOf(preparing({ sourcePod, placeholder: placeholder(), destination: targetIs('Unknown') }, onNodeB));
  expect(plan.actions[0]).toMatchObject({ type: 'setTarget', request: { volumes: ['cache'] } });
});

test('an agent that does not answer is asked again every second until the time is over', () => {
  for (const [destination, message] of [
    [silent, /node-b does not answer: connect ECONNREFUSED/],
    [undefined, /node-b does not answer \(no agent pod is ready there\)/],
  ] as const) {
    const plan = planOf(preparing({ placeholder: placeholder(), destination }, onNodeB));
    expect(plan).toMatchObject({ actions: [], requeueAfter: 1000 });
    expect(said(plan)).toMatchObject({ reason: 'AgentUnavailable', message: expect.stringMatching(message) });
    expectFailure(
      planOf(preparing({ placeholder: placeholder(), destination }, { ...onNodeB, ...late })),
      'RollingBack',
      'AgentUnavailable',
      message,
    );
  }
});

test('base images that the agent does not find whole', () => {
  const destination = targetIs('Prepared', { error: { message: 'the base image nginx is not whole' } });
  const plan = planOf(preparing({ placeholder: placeholder(), destination }, onNodeB));
  expectFailure(plan, 'RollingBack', 'BaseImageUnavailable', /nginx is not whole/);
});

test('prepared: on to the freeze', () => {
  const plan = planOf(preparing({ placeholder: placeholder(), destination: targetIs('Prepared') }, onNodeB));
  expect(plan).toMatchObject({ actions: [], status: { phase: 'Freezing', steps: { accepted: ago(10), prepared: ago(0) } } });
  expect(said(plan)).toMatchObject({ reason: 'Prepared', message: 'node node-b is ready to take the pod' });
});

describe('a destination that takes only so many at once', () => {
  const turn = { granted: false, position: 1, why: 'policy drains allows 1 migrations at once to node node-b' } as const;
  const ready = { placeholder: placeholder(), destination: targetIs('Prepared') };

  test('everything is ready there, and the source runs on until it is its turn', () => {
    const plan = planOf(preparing({ ...ready, turn }, onNodeB));
    expect(plan).toMatchObject({ actions: [], requeueAfter: 1000, status: { phase: 'Preparing' } });
    expect(plan.status?.steps).not.toHaveProperty('prepared');
    expect(said(plan)).toMatchObject({
      reason: 'Queued',
      message: 'waiting for its turn: policy drains allows 1 migrations at once to node node-b',
    });
    expect(planOf(preparing({ ...ready, turn: { granted: true } }, onNodeB)).status?.phase).toBe('Freezing');
  });

  test('that others go first is no failure, however long it takes', () => {
    expect(planOf(preparing({ ...ready, turn }, { ...onNodeB, ...late })).status?.phase).toBe('Preparing');
    expect(planOf(preparing({ ...ready, turn: { granted: true } }, { ...onNodeB, ...late })).status?.phase).toBe('Freezing');
  });

  test('the preparation does not wait for it', () => {
    expect(actionTypes(planOf(preparing({ placeholder: placeholder(), destination: targetIs('Unknown'), turn }, onNodeB)))).toEqual([
      'setTarget',
    ]);
  });

  test('what goes wrong meanwhile is seen', () => {
    expectFailure(
      planOf(preparing({ ...ready, turn, sourcePod: undefined }, onNodeB)),
      'RollingBack',
      'SourceChanged',
      /deleted or replaced/,
    );
  });
});

test.each(['Preparing', 'Freezing', 'Shipping', 'Holding'] as const)(
  '%s: a source that changed, or a Migration that was deleted',
  (phase) => {
    const at = (change: Parameters<typeof observeAt>[1]) => observeAt(phase, { destination: targetIs('Prepared'), ...change });
    expectFailure(planOf(at({ sourcePod: undefined })), 'RollingBack', 'SourceChanged', /web-7d9f-abcde was deleted or replaced/);
    expectFailure(planOf(at({ sourcePod: pod({ metadata: { uid: 'new' } }) })), 'RollingBack', 'SourceChanged', /deleted or replaced/);
    expectFailure(
      planOf(at({ sourcePod: pod({ metadata: { deletionTimestamp: ago(0) } }) })),
      'RollingBack',
      'PodNotRunning',
      /being deleted/,
    );
    const cancelled = at({});
    cancelled.migration.metadata.deletionTimestamp = ago(0);
    expectFailure(planOf(cancelled), 'RollingBack', 'Cancelled', /the Migration was deleted/);
  },
);

describe('CPUs', () => {
  const cpu = (...features: string[]) => ({ architecture: 'amd64', vendor: 'GenuineIntel', features });
  const lacking = [{ nodes: ['node-b'], missing: ['avx2'] }];
  const sourceNode = { ...node('node-a'), metadata: { name: 'node-a', labels: { 'kubernetes.io/arch': 'amd64' } } };

  test('the placeholder is kept away from nodes that lack something, and waiting says so', () => {
    const [create] = planOf(preparing({ placeholder: undefined, sourceNode, cpus: { source: cpu('avx2'), lacking } })).actions.flat();
    expect(JSON.stringify(create)).toContain('{"key":"metadata.name","operator":"NotIn","values":["node-b"]}');
    expect(JSON.stringify(create)).toContain('{"key":"kubernetes.io/arch","operator":"In","values":["amd64"]}');
    const waits = planOf(preparing({ placeholder: unschedulable(), cpus: { source: cpu('avx2'), lacking } }));
    expect(said(waits)).toMatchObject({
      reason: 'DestinationCannotTakePod',
      message: expect.stringMatching(/no node can take the pod: 0\/2.*; left out, as their CPUs lack .*: node-b \(avx2\)$/),
    });
  });

  test('a node that became known after the choice is given up before the freeze', () => {
    const chosen = { placeholder: placeholder(), destination: targetIs('Prepared') };
    const known = preparing({ ...chosen, cpus: { source: cpu('avx2', 'fma'), destination: cpu('fma'), lacking } }, onNodeB);
    expectFailure(planOf(known), 'RollingBack', 'CPUIncompatible', /CPU of node node-b lacks features of that of node node-a.*: avx2$/);
    const unknown = preparing({ ...chosen, cpus: { source: cpu('avx2'), lacking: [] } }, onNodeB);
    expect(planOf(unknown).status?.phase).toBe('Freezing');
  });
});
