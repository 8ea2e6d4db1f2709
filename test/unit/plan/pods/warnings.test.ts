import type { NodeSelectorTerm } from '../../../../src/api/pod.ts';
import type { AccessMode, PersistentVolume } from '../../../../src/api/volume.ts';
import { type ClaimFacts, debugWarnings, migrationWarnings } from '../../../../src/plan/pods/warnings.ts';
import { deepFreeze, namespace, type PodChange, pod } from '../objects.ts';

const warn = (change: PodChange, claims: ClaimFacts[] = []) =>
  migrationWarnings(deepFreeze(pod(change)), new Map(claims.map((facts) => [facts.claim.metadata.name, facts])));
const withClaim: PodChange = { spec: { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data-0' } }] } };
const claim = (accessModes: AccessMode[], volume?: PersistentVolume): ClaimFacts => ({
  claim: { metadata: { name: 'data-0', namespace }, spec: { accessModes } },
  ...(volume ? { volume } : {}),
});
const volume = (...nodeSelectorTerms: NodeSelectorTerm[]): PersistentVolume => ({
  metadata: { name: 'pv' },
  spec: { nodeAffinity: { required: { nodeSelectorTerms } } },
});
const on = (key: string, ...values: string[]): NodeSelectorTerm => ({ matchExpressions: [{ key, operator: 'In', values }] });
const hostname = 'kubernetes.io/hostname';

test('all that keeps a pod from migrating is named, not just the first', () => {
  const warnings = warn({
    spec: {
      hostNetwork: true,
      hostPID: true,
      hostIPC: true,
      containers: [
        {
          name: 'app',
          tty: true,
          stdin: true,
          resources: { limits: { 'nvidia.com/gpu': '1' } },
          volumeMounts: [{ name: 'logs', mountPath: '/logs' }],
        },
        { name: 'other', securityContext: { privileged: true }, volumeDevices: [{}], volumeMounts: [{ name: 'logs', mountPath: '/logs' }] },
      ],
      volumes: [{ name: 'logs', hostPath: { path: '/var/log' } }],
    },
  });
  expect(warnings.every((warning) => warning.startsWith('podferry: pod web-7d9f-abcde cannot migrate: it '))).toBe(true);
  expect(warnings.map((warning) => /hostNetwork|hostPID|hostIPC|nvidia|tty|privileged|block devices|hostPath/.exec(warning)?.[0])).toEqual([
    'hostNetwork',
    'hostPID',
    'hostIPC',
    'nvidia',
    'tty',
    'privileged',
    'block devices',
    'hostPath',
  ]);
});

test('a pod that can migrate: none', () => expect(warn({})).toEqual([]));

test('Windows', () => {
  expect(warn({ spec: { os: { name: 'windows' } } })).toEqual([expect.stringMatching(/cannot migrate: it is for Windows/)]);
  expect(warn({ spec: { nodeSelector: { 'kubernetes.io/os': 'windows' } } })).toHaveLength(1);
  expect(warn({ spec: { os: { name: 'linux' } } })).toEqual([]);
});

test('stdin without a terminal migrates, but not who is attached', () => {
  expect(warn({ spec: { containers: [{ name: 'app', stdin: true }] } })).toEqual([
    'podferry: pod web-7d9f-abcde loses who is attached to it when it migrates: container app has stdin: true',
  ]);
});

test('the pod of an owner has no name yet', () => {
  const unnamed = pod({ metadata: { name: '', generateName: 'web-7d9f-' }, spec: { hostPID: true } });
  expect(migrationWarnings(unnamed, new Map())[0]).toMatch(/^podferry: pod web-7d9f-… cannot migrate/);
});

describe('volumes', () => {
  test.each<[string, ClaimFacts, RegExp]>([
    [
      'ReadWriteOnce',
      claim(['ReadWriteOnce']),
      /may not be able to migrate: its volume data \(PersistentVolumeClaim data-0\) is ReadWriteOnce;/,
    ],
    ['ReadWriteOncePod', claim(['ReadWriteOncePod']), /cannot migrate: .*ReadWriteOncePod/],
    [
      'on one node',
      claim(['ReadWriteMany'], volume(on(hostname, 'node-a'))),
      /cannot migrate: .*\(PersistentVolumeClaim data-0\) is on node node-a only/,
    ],
    ['on one node, in another word', claim(['ReadWriteOnce'], volume(on('topology.hostpath.csi/node', 'node-a'))), /on node node-a only/],
    ['on one node, twice', claim(['ReadWriteOnce'], volume(on(hostname, 'node-a'), on(hostname, 'node-a'))), /on node node-a only/],
    [
      'on one node by field',
      claim(['ReadWriteOnce'], volume({ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['node-a'] }] })),
      /on node node-a only/,
    ],
    ['in one zone, once', claim(['ReadWriteOnce'], volume(on('topology.kubernetes.io/zone', 'z1'))), /is ReadWriteOnce;/],
  ])('%s', (_what, facts, warning) => expect(warn(withClaim, [facts])).toEqual([expect.stringMatching(warning)]));

  test.each<[string, ClaimFacts[]]>([
    ['that is not known', []],
    ['for many', [claim(['ReadWriteMany'])]],
    ['for many too', [claim(['ReadWriteOnce', 'ReadOnlyMany'])]],
    ['on two nodes', [claim(['ReadWriteMany'], volume(on(hostname, 'node-a', 'node-b')))]],
    ['on two nodes, in two terms', [claim(['ReadWriteMany'], volume(on(hostname, 'node-a'), on(hostname, 'node-b')))]],
    ['on one node or in a zone', [claim(['ReadWriteMany'], volume(on(hostname, 'node-a'), on('topology.kubernetes.io/zone', 'z1')))]],
    ['not on a node', [claim(['ReadWriteMany'], volume({ matchExpressions: [{ key: hostname, operator: 'NotIn', values: ['node-a'] }] }))]],
    ['without affinity', [claim(['ReadWriteMany'], { metadata: { name: 'pv' }, spec: {} })]],
  ])('none for one %s', (_what, claims) => expect(warn(withClaim, claims)).toEqual([]));

  test('a generic ephemeral volume', () => {
    expect(warn({ spec: { volumes: [{ name: 'scratch', ephemeral: {} }] } })).toEqual([
      expect.stringMatching(/migrates without its volume scratch: .*empty/),
    ]);
  });
});

test('kubectl debug: for the container that is new', () => {
  const before = pod({ spec: { ephemeralContainers: [{ name: 'old' }] } });
  const after = pod({ spec: { ephemeralContainers: [{ name: 'old' }, { name: 'debugger' }] } });
  expect(debugWarnings(after, before)).toEqual([
    'podferry: pod web-7d9f-abcde cannot migrate while its ephemeral container debugger runs: end it before the pod has to move',
  ]);
  expect(debugWarnings(after, after)).toEqual([]);
  expect(debugWarnings(pod(), undefined)).toEqual([]);
});
