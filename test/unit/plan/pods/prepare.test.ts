import type { Container, Pod } from '../../../../src/api/pod.ts';
import { preparePod } from '../../../../src/plan/pods/prepare.ts';
import { deepFreeze, type PodChange, pod } from '../objects.ts';

const prepare = (change: PodChange) => preparePod(deepFreeze(pod(change)), 'keep-state');
const container = (change: Partial<Container>, spec: PodChange['spec'] = {}): PodChange => ({
  spec: { ...spec, containers: [{ name: 'app', ...change }] },
});
const envOf = (change: PodChange) => prepare(change).pod.spec.containers[0]?.env;
const noteOf = ({ metadata }: Pod) => JSON.parse(metadata.annotations?.['podferry.io/prepared'] ?? 'null');
const settled = { securityContext: { seccompProfile: { type: 'RuntimeDefault' } } } as const;

test('a pod that says nothing: just these two fields and the annotation are new', () => {
  const before = pod({ metadata: { annotations: { mine: 'x' } } });
  const { pod: after, doubts } = preparePod(deepFreeze(before), 'keep-state');
  expect(doubts).toEqual([]);
  expect(after).toEqual({
    ...before,
    metadata: { ...before.metadata, annotations: { mine: 'x', 'podferry.io/prepared': expect.any(String) } },
    spec: {
      ...before.spec,
      securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{ ...before.spec.containers[0], env: [{ name: 'GODEBUG', value: 'multipathtcp=0' }] }],
    },
  });
  expect(noteOf(after)).toEqual({
    policy: 'keep-state',
    changed: ['spec.containers[app].env[GODEBUG]', 'spec.securityContext.seccompProfile'],
  });
});

describe('GODEBUG', () => {
  test.each([
    ['is appended to', 'http2client=0', 'http2client=0,multipathtcp=0'],
    ['is filled', '', 'multipathtcp=0'],
    ['is none of the names that only look like it', 'xmultipathtcp=1', 'xmultipathtcp=1,multipathtcp=0'],
  ])('that is plain %s', (_what, value, expected) => {
    const first = { name: 'A', value: '$(HOME)' };
    const last = { name: 'B', value: '2' };
    expect(envOf(container({ env: [first, { name: 'GODEBUG', value }, last] }))).toEqual([
      first,
      { name: 'GODEBUG', value: expected },
      last,
    ]);
  });

  test('given twice: the last counts, for Kubernetes and for Go', () => {
    const twice = [
      { name: 'GODEBUG', value: 'multipathtcp=1' },
      { name: 'GODEBUG', value: 'a=1' },
    ];
    expect(envOf(container({ env: twice }))).toEqual([twice[0], { name: 'GODEBUG', value: 'a=1,multipathtcp=0' }]);
    expect(prepare(container({ env: [{ name: 'GODEBUG', value: 'multipathtcp=1,multipathtcp=0' }] }, settled)).doubts).toEqual([]);
  });

  test('that envFrom may bring is kept by a reference', () => {
    const envFrom = [{ configMapRef: { name: 'settings' } }];
    expect(envOf(container({ envFrom }))).toEqual([{ name: 'GODEBUG', value: '$(GODEBUG),multipathtcp=0' }]);
    // What stands in env goes before envFrom anyway.
    expect(envOf(container({ envFrom, env: [{ name: 'GODEBUG', value: 'a=1' }] }))).toEqual([
      { name: 'GODEBUG', value: 'a=1,multipathtcp=0' },
    ]);
  });

  test.each([
    ['multipathtcp is off', { value: 'multipathtcp=0,http2client=0' }, undefined],
    ['multipathtcp is wanted', { value: 'http2client=0,multipathtcp=1' }, /container app with GODEBUG multipathtcp=1: .*CRIU/],
    ['the value is a reference', { value: '$(COMMON)' }, /container app whose GODEBUG comes from elsewhere .*multipathtcp=0/],
    [
      'it comes from elsewhere',
      { valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } },
      /container app whose GODEBUG comes from elsewhere/,
    ],
  ])('is left alone where %s', (_what, entry, doubt) => {
    const { pod: after, doubts } = prepare(container({ env: [{ name: 'GODEBUG', ...entry }] }, settled));
    expect(after.spec.containers[0]?.env).toEqual([{ name: 'GODEBUG', ...entry }]);
    expect(after.metadata.annotations).toBeUndefined();
    expect(doubts).toEqual(doubt ? [expect.stringMatching(doubt)] : []);
  });

  test('of native sidecars too; init containers that end are left alone', () => {
    const { pod: after } = prepare({ spec: { initContainers: [{ name: 'setup' }, { name: 'proxy', restartPolicy: 'Always' }] } });
    expect(after.spec.initContainers).toEqual([
      { name: 'setup' },
      { name: 'proxy', restartPolicy: 'Always', env: [{ name: 'GODEBUG', value: 'multipathtcp=0' }] },
    ]);
    expect(noteOf(after).changed).toContain('spec.initContainers[proxy].env[GODEBUG]');
    expect(noteOf(after).changed.join()).not.toContain('setup');
  });
});

describe('seccomp', () => {
  const profile = (type: 'RuntimeDefault' | 'Unconfined' | 'Localhost') => ({ securityContext: { seccompProfile: { type } } });
  const localhost = { securityContext: { seccompProfile: { type: 'Localhost' as const, localhostProfile: 'mine.json' } } };

  test('other settings of the pod stay', () => {
    expect(prepare({ spec: { securityContext: { fsGroup: 7 } } }).pod.spec.securityContext).toEqual({
      fsGroup: 7,
      seccompProfile: { type: 'RuntimeDefault' },
    });
  });

  test.each([
    ['the pod', { spec: localhost }],
    ['every container', container(localhost)],
    ['the pod, the default', { spec: profile('RuntimeDefault') }],
  ])('what %s says is not changed', (_what, change) => {
    const { pod: after, doubts } = prepare(change);
    expect(after.spec.securityContext).toEqual(pod(change).spec.securityContext);
    expect(after.spec.containers[0]?.securityContext).toEqual(pod(change).spec.containers[0]?.securityContext);
    expect(doubts).toEqual([]);
  });

  test.each([
    ['the pod', { spec: profile('Unconfined') }],
    ['the container', container(profile('Unconfined'))],
    ['the container against the pod', container(profile('Unconfined'), profile('RuntimeDefault'))],
  ])('Unconfined by %s is doubted, and stays', (_what, change) => {
    const { pod: after, doubts } = prepare(change);
    expect(after.spec.securityContext).toEqual(pod(change).spec.securityContext);
    expect(after.spec.containers[0]?.securityContext).toEqual(pod(change).spec.containers[0]?.securityContext);
    expect(doubts).toEqual([expect.stringMatching(/container app with seccompProfile Unconfined: .*io_uring/)]);
  });

  test('one container says it, the other does not: the pod says it for the other', () => {
    const { pod: after, doubts } = prepare({ spec: { containers: [{ name: 'app', ...localhost }, { name: 'other' }] } });
    expect(after.spec.securityContext).toEqual(profile('RuntimeDefault').securityContext);
    expect(after.spec.containers[0]?.securityContext).toEqual(localhost.securityContext);
    expect(after.spec.containers[1]?.securityContext).toBeUndefined();
    expect(doubts).toEqual([]);
  });

  test('a container that says Localhost in a pod that says Unconfined is in no doubt', () => {
    expect(prepare(container(localhost, profile('Unconfined'))).doubts).toEqual([]);
  });
});

test.each<[string, PodChange]>([
  ['cannot migrate whatever is done', { spec: { hostNetwork: true } }],
  ['is for Windows', { spec: { os: { name: 'windows' } } }],
])('a pod that %s is left alone', (_what, change) => {
  const before = deepFreeze(pod(change));
  expect(preparePod(before, 'keep-state')).toEqual({ pod: before, doubts: [] });
});

test('without a policy that prepares it a pod is left alone', () => {
  const before = deepFreeze(pod());
  expect(preparePod(before, undefined).pod).toBe(before);
});

describe('again', () => {
  test.each<[string, PodChange]>([
    ['plain', {}],
    ['with envFrom', container({ envFrom: [{ configMapRef: { name: 'settings' } }] })],
    ['with a value', container({ env: [{ name: 'GODEBUG', value: 'a=1' }] })],
  ])('the same pod: %s', (_what, change) => {
    const once = deepFreeze(prepare(change).pod);
    expect(preparePod(once, 'another').pod).toBe(once);
  });

  test('with a sidecar that somebody put in meanwhile: the record grows', () => {
    const once = prepare({}).pod;
    const more = { ...once, spec: { ...once.spec, containers: [...once.spec.containers, { name: 'proxy' }] } };
    expect(noteOf(preparePod(deepFreeze(more), 'keep-state').pod).changed).toEqual([
      'spec.containers[app].env[GODEBUG]',
      'spec.securityContext.seccompProfile',
      'spec.containers[proxy].env[GODEBUG]',
    ]);
  });

  test.each(['no JSON', 'null', '[]', '7', '{"changed":{}}', '{"changed":[7]}'])('a record that is %s does not stop it', (damaged) => {
    const { pod: after } = prepare({ metadata: { annotations: { 'podferry.io/prepared': damaged } } });
    expect(noteOf(after)).toEqual({ policy: 'keep-state', changed: expect.any(Array) });
    expect(noteOf(after).changed).toHaveLength(2);
  });
});
