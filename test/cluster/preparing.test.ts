import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type MigrationPolicy, migrationPolicies, type Pod } from '../../src/kube/resources.ts';
import { cluster } from './support/cluster.ts';
import { ask, counted, counterContainer, expectSameMemory, onNode } from './support/counter.ts';
import { imageOf } from './support/images.ts';
import { kubectl, labDirectory } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-preparing');
const policyName = 'test-preparing';

/** Pods with this label are prepared. */
const covered = { state: 'kept' };
const kept = (name: string) => ({ name, labels: { app: name, ...covered } });

const removePolicies = () => kubectl('delete', 'migrationpolicy', policyName, 'test-preparing-between', '--ignore-not-found');

async function policy(name: string, spec: MigrationPolicy['spec']): Promise<void> {
  const body = { apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationPolicy', metadata: { name }, spec };
  await (await cluster()).patch(migrationPolicies, { name }, { type: 'apply', body, force: true }, { fieldManager: 'test' });
}

beforeAll(async () => {
  await removePolicies();
  await policy(policyName, { prepare: true, podSelector: { matchLabels: covered } });
  // Webhooks see it when their caches do.
  await until('pods are prepared', async () => {
    const { output } = await told(['apply', '--dry-run=server', '-o', 'json', '-f', '-'], await podOf('probe', 'shell', []));
    return output.includes('podferry.io/prepared') ? true : undefined;
  });
});
afterAll(removePolicies);

/** What kubectl prints, as a person sees it, the object on its standard input. */
async function told(args: string[], object?: object): Promise<{ output: string; warnings: string[]; code: number }> {
  const child = spawn(join(labDirectory, 'kubectl'), ['-n', space.name, ...args]);
  child.stdin.end(object ? JSON.stringify(object) : '');
  const ended = new Promise<number>((resolve) => {
    child.on('exit', (code) => resolve(code ?? -1));
  });
  const [output, errors, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  const warnings = errors.split('\n').filter((line) => line.startsWith('Warning: podferry: '));
  return { output: `${output}${errors}`, warnings, code };
}

/** A Go server as people write it: it listens with Multipath TCP. Somebody could be attached to it, too. */
async function goServer() {
  const { env, ...container } = await counterContainer({ stdin: true });
  return { ...container, env: env.filter(({ name }) => name !== 'GODEBUG') };
}

/** Node.js with its default of io_uring for files where the kernel has it, and a count in its memory. */
const program = `
let count = 0; const birth = Math.random();
setInterval(() => require('node:fs').stat('/', () => {}), 200);
require('node:http').createServer((request, response) => response.end(JSON.stringify({ birth, count: ++count }))).listen(8080);`;
const nodeServer = async () => ({
  name: 'node',
  image: await imageOf('node'),
  args: ['-e', program],
  readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
});

const specOf = (container: object, fields: object = {}) => ({
  affinity: onNode('node-a'),
  terminationGracePeriodSeconds: 1,
  containers: [container],
  ...fields,
});

async function podOf(name: string, program: 'shell' | 'counter', args: string[], fields: object = {}, container: object = {}) {
  const image = await imageOf(program);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...kept(name), namespace: space.name },
    spec: specOf({ name: program, image, ...(args.length ? { args } : {}), ...container }, fields),
  };
}

const preparedBy = (pod: Pod) => JSON.parse(pod.metadata.annotations?.['podferry.io/prepared'] ?? 'null');

async function move(name: string, destination: string): Promise<Pod> {
  await space.succeeded(await space.annotate(name, destination), 90_000);
  const pod = await space.ready(name);
  expect(pod.spec.nodeName).toBe(destination);
  return pod;
}

async function refusedUnprepared(name: string, container: object, words: RegExp): Promise<void> {
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: specOf(container) });
  expect(preparedBy(await space.ready(name))).toBeNull();
  const end = await space.finished(await space.annotate(name, 'node-b'), 90_000);
  expect([end.status?.phase, readyMessage(end)]).toEqual(['Failed', expect.stringMatching(words)]);
  await kubectl('-n', space.name, 'delete', 'pod', name, '--wait=false');
}

it('a Go server that CRIU refuses as it is moves with its memory, there and back, when it was created under the policy', async () => {
  await refusedUnprepared('go-plain', await goServer(), /Multipath TCP/);
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: kept('go'), spec: specOf(await goServer()) });
  const pod = await space.ready('go');
  const note = { policy: policyName, changed: ['spec.containers[counter].env[GODEBUG]', 'spec.securityContext.seccompProfile'] };
  expect(preparedBy(pod)).toEqual(note);
  const before = await counted(pod);
  const began = performance.now();
  const moved = await move('go', 'node-b');
  expectSameMemory(before, await ask(moved), (performance.now() - began) / 1000);
  expect(preparedBy(moved)).toEqual(note);
  expectSameMemory(before, await ask(await move('go', 'node-a')), (performance.now() - began) / 1000);
}, 300_000);

it('of a Deployment: the replacement is prepared like its source, so that it can go on', async () => {
  const template = { metadata: { labels: kept('deployed').labels }, spec: specOf(await goServer()) };
  await space.create({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'deployed' },
    spec: { selector: { matchLabels: { app: 'deployed' } }, template },
  });
  let [pod] = await space.allReady('app=deployed', 1);
  const before = await counted(pod as Pod);
  const began = performance.now();
  for (const destination of ['node-b', 'node-a']) {
    await space.succeeded(await space.annotate(pod?.metadata.name ?? '', destination), 90_000);
    [pod] = await space.allReady('app=deployed', 1);
    expect(pod?.spec.nodeName).toBe(destination);
    expect(preparedBy(pod as Pod)).toMatchObject({ policy: policyName });
    expectSameMemory(before, await ask(pod as Pod), (performance.now() - began) / 1000);
  }
}, 240_000);

it('a policy that begins or ends to prepare pods between two moves does not stop them', async () => {
  const template = { metadata: { labels: { app: 'between' } }, spec: specOf(await counterContainer()) };
  await space.create({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'between' },
    spec: { selector: { matchLabels: { app: 'between' } }, template },
  });
  let [pod] = await space.allReady('app=between', 1);
  const before = await counted(pod as Pod);
  const began = performance.now();
  for (const [destination, prepare] of [
    ['node-b', true],
    ['node-a', false],
  ] as const) {
    await policy('test-preparing-between', { prepare, podSelector: { matchLabels: { app: 'between' } } });
    await space.succeeded(await space.annotate(pod?.metadata.name ?? '', destination), 90_000);
    [pod] = await space.allReady('app=between', 1);
    expect([pod?.spec.nodeName, pod?.spec.securityContext?.seccompProfile]).toEqual([
      destination,
      prepare ? { type: 'RuntimeDefault' } : undefined,
    ]);
    expectSameMemory(before, await ask(pod as Pod), (performance.now() - began) / 1000);
  }
}, 240_000);

it('Node.js, which uses io_uring, moves with its memory when it was created under the policy', async () => {
  await refusedUnprepared('node-plain', await nodeServer(), /io_uring/);
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: kept('node'), spec: specOf(await nodeServer()) });
  const asked = async () => {
    const response = await fetch(`http://${(await space.pod('node')).status?.podIP}:8080/`, { signal: AbortSignal.timeout(2000) });
    return (await response.json()) as { birth: number; count: number };
  };
  await space.ready('node');
  await asked();
  const before = await asked();
  await move('node', 'node-b');
  const after = await until('it answers', asked);
  expect(after).toEqual({ birth: before.birth, count: before.count + 1 });
}, 240_000);

it('a GODEBUG of envFrom and one that is given are kept', async () => {
  await kubectl('-n', space.name, 'create', 'configmap', 'settings', '--from-literal=GODEBUG=http2client=0');
  const args = ['-c', 'echo "it is $GODEBUG"; sleep 3600'];
  const started = async (name: string, container: object) => {
    await space.create(await podOf(name, 'shell', args, {}, container));
    await space.ready(name);
    return kubectl('-n', space.name, 'logs', name);
  };
  expect(await started('env-from', { envFrom: [{ configMapRef: { name: 'settings' } }] })).toBe('it is http2client=0,multipathtcp=0\n');
  expect(await started('given', { env: [{ name: 'GODEBUG', value: 'x509sha1=1' }] })).toBe('it is x509sha1=1,multipathtcp=0\n');
  const elsewhere = { envFrom: [{ secretRef: { name: 'none', optional: true } }] };
  expect(await started('nowhere', elsewhere)).toBe('it is $(GODEBUG),multipathtcp=0\n');
});

it.each([['client-side'], ['server-side']])('kubectl apply (%s) of the same bare pod again changes nothing', async (side) => {
  const pod = await podOf(`applied-${side}`, 'shell', ['-c', 'sleep 3600'], {}, { env: [{ name: 'A', value: '1' }] });
  const apply = ['apply', `--server-side=${side === 'server-side'}`, '-f', '-'];
  expect(await told(apply, pod)).toMatchObject({ code: 0 });
  const made = await space.pod(pod.metadata.name);
  expect(preparedBy(made)).not.toBeNull();
  expect(await told(apply, pod)).toMatchObject({ code: 0 });
  const again = await space.pod(pod.metadata.name);
  expect(again.spec.containers[0]?.env).toEqual(made.spec.containers[0]?.env);
  expect(again.metadata.annotations).toEqual(made.metadata.annotations);
});

it('a container that another admission step puts in after podferry has answered is prepared too', async () => {
  const name = 'test-preparing-inject';
  const expression = `has(object.metadata.annotations) && 'podferry.io/prepared' in object.metadata.annotations &&
    !object.spec.containers.exists(container, container.name == 'injected') ?
    [JSONPatch{op: "add", path: "/spec/containers/-", value: Object.spec.containers{name: "injected", image: "none"}}] : []`;
  const header = { apiVersion: 'admissionregistration.k8s.io/v1', metadata: { name } };
  const injecting = {
    ...header,
    kind: 'MutatingAdmissionPolicy',
    spec: {
      reinvocationPolicy: 'IfNeeded',
      matchConstraints: {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': space.name } },
        // Only that pod: an API server goes by a policy for a second or more after it was deleted.
        objectSelector: { matchLabels: { app: 'injected' } },
        resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
      },
      mutations: [{ patchType: 'JSONPatch', jsonPatch: { expression } }],
    },
  };
  const remove = () => kubectl('delete', 'mutatingadmissionpolicybinding,mutatingadmissionpolicy', name, '--ignore-not-found');
  await remove();
  try {
    expect(await told(['create', '-f', '-'], injecting)).toMatchObject({ code: 0 });
    const binding = { ...header, kind: 'MutatingAdmissionPolicyBinding', spec: { policyName: name } };
    expect(await told(['create', '-f', '-'], binding)).toMatchObject({ code: 0 });
    const pod = await podOf('injected', 'shell', []);
    const made = await until('the other step is in force', async () => {
      const { output } = await told(['create', '-f', '-', '--dry-run=server', '-o', 'json'], pod);
      const answer = JSON.parse(output) as Pod;
      return answer.spec.containers.length === 2 ? answer : undefined;
    });
    expect(made.spec.containers[1]?.env).toEqual([{ name: 'GODEBUG', value: 'multipathtcp=0' }]);
    expect(preparedBy(made).changed).toContain('spec.containers[injected].env[GODEBUG]');
  } finally {
    await remove();
  }
});

describe('kubectl prints what will not migrate', () => {
  it('of a pod; a dry run says the same and has the same changes', async () => {
    const claim = { name: 'data', persistentVolumeClaim: { claimName: 'data' } };
    await space.create({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'data' },
      spec: {
        accessModes: ['ReadWriteOnce'],
        storageClassName: 'none',
        volumeName: 'test-preparing-pinned',
        resources: { requests: { storage: '1Mi' } },
      },
    });
    const pod = await podOf('warned', 'shell', ['-c', 'sleep 3600'], { volumes: [claim] }, { stdin: true });
    const create = (...more: string[]) => told(['create', '-f', '-', ...more], pod);
    const dry = await create('--dry-run=server', '-o', 'json');
    expect(dry.output).toContain('multipathtcp=0');
    expect(dry.warnings).toEqual([
      expect.stringMatching(
        /^Warning: podferry: pod warned may not be able to migrate: its volume data \(PersistentVolumeClaim data\) is ReadWriteOnce;/,
      ),
      expect.stringMatching(
        /^Warning: podferry: pod warned loses who is attached to it when it migrates: container shell has stdin: true$/,
      ),
    ]);
    expect((await create()).warnings).toEqual(dry.warnings);
    await kubectl('-n', space.name, 'delete', 'pod', 'warned', '--wait=false');
    // Not covered: nobody is warned, nothing is changed.
    const other = { ...pod, metadata: { name: 'other', namespace: space.name } };
    const uncovered = await told(['create', '-f', '-', '--dry-run=server', '-o', 'json'], other);
    expect([uncovered.code, uncovered.warnings, uncovered.output.includes('multipathtcp')]).toEqual([0, [], false]);
  });

  it('of a pod whose volume lies on one node', async () => {
    const volume = {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'test-preparing-pinned' },
      spec: {
        capacity: { storage: '1Mi' },
        accessModes: ['ReadWriteOnce'],
        storageClassName: 'none',
        persistentVolumeReclaimPolicy: 'Retain',
        local: { path: '/var/tmp' },
        claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'data', namespace: space.name },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['node-a'] }] }],
          },
        },
      },
    };
    await kubectl('delete', 'persistentvolume', 'test-preparing-pinned', '--ignore-not-found', '--wait=false');
    try {
      expect(await told(['create', '-f', '-'], volume)).toMatchObject({ code: 0 });
      const volumes = [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }];
      const pod = await podOf('pinned', 'shell', [], { volumes });
      expect((await told(['create', '-f', '-', '--dry-run=server'], pod)).warnings).toEqual([
        'Warning: podferry: pod pinned cannot migrate: its volume data (PersistentVolumeClaim data) is on node node-a only',
      ]);
    } finally {
      await kubectl('delete', 'persistentvolume', 'test-preparing-pinned', '--wait=false');
    }
  });

  it('of a Deployment', async () => {
    const { spec } = await podOf('any', 'shell', [], { hostNetwork: true });
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'warned' },
      spec: { selector: { matchLabels: covered }, template: { metadata: { labels: covered }, spec } },
    };
    expect((await told(['create', '-f', '-', '--dry-run=server'], deployment)).warnings).toEqual([
      'Warning: podferry: a pod of Deployment warned cannot migrate: it uses hostNetwork: its sockets and addresses belong to the node and cannot be restored on another',
    ]);
  });

  it('of a pod that is debugged', async () => {
    await space.create(await podOf('debugged', 'shell', ['-c', 'sleep 3600']));
    await space.ready('debugged');
    const { warnings } = await told(['debug', 'debugged', '-c', 'debugger', `--image=${await imageOf('shell')}`, '--', '/bin/sleep', '1']);
    expect(warnings).toEqual([
      'Warning: podferry: pod debugged cannot migrate while its ephemeral container debugger runs: end it before the pod has to move',
    ]);
  });
});
