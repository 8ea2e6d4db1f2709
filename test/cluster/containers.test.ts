import { ask, counted, counterContainer, counterSpec, expectSameMemory, onNode } from './support/counter.ts';
import { imageOf } from './support/images.ts';
import { handle, kubectl } from './support/lab.ts';
import { useNamespace } from './support/space.ts';

const space = useNamespace('test-containers');
const inside = (pod: string, container: string, script: string) =>
  kubectl('-n', space.name, 'exec', pod, '-c', container, '--', '/bin/sh', '-c', script);

it('moves several containers and a native sidecar as one; init containers that are done do not run again', async () => {
  const shell = await imageOf('shell');
  const spec = {
    affinity: onNode('node-a'),
    terminationGracePeriodSeconds: 1,
    volumes: [{ name: 'notes', emptyDir: {} }],
    initContainers: [
      { name: 'setup', image: shell, args: ['-c', 'echo once >>/notes/setup'], volumeMounts: [{ name: 'notes', mountPath: '/notes' }] },
      await counterContainer({ name: 'sidecar', port: 8083, restartPolicy: 'Always' }),
    ],
    containers: [
      await counterContainer({ name: 'first', port: 8081 }),
      await counterContainer({ name: 'second', port: 8082 }),
      {
        name: 'shell',
        image: shell,
        args: ['-c', 'trap exit TERM; sleep 1000000 & wait'],
        volumeMounts: [{ name: 'notes', mountPath: '/notes' }],
      },
    ],
  };
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'many' }, spec });
  const source = await space.ready('many');
  const ports = [8081, 8082, 8083];
  const before = await Promise.all(ports.map((port) => counted(source, 5, port)));
  const began = performance.now();
  await space.succeeded(await space.annotate('many', 'node-b'));
  const target = await space.ready('many');
  const after = await Promise.all(ports.map((port) => ask(target, port)));
  const seconds = (performance.now() - began) / 1000;
  for (const [index, old] of before.entries()) expectSameMemory(old, after[index] as typeof old, seconds);
  expect(target.spec.nodeName).toBe('node-b');
  expect(await inside('many', 'shell', 'cat /notes/setup')).toBe('once\n');
  expect(target.spec.initContainers?.map(({ name }) => name)).toEqual(['sidecar']);
  expect(JSON.parse(target.metadata.annotations?.['podferry.io/completed-init-containers'] ?? '')).toEqual(['setup']);
});

it('takes emptyDir volumes along, on disk and in memory, before the processes go on', async () => {
  const spec = await counterSpec(
    'node-a',
    { env: { JOURNAL: '/disk/journal' }, volumeMounts: [{ name: 'disk', mountPath: '/disk' }] },
    {
      volumes: [
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory' } },
      ],
    },
  );
  const shell = {
    name: 'shell',
    image: await imageOf('shell'),
    args: ['-c', 'trap exit TERM; sleep 1000000 & wait'],
    volumeMounts: [
      { name: 'disk', mountPath: '/disk' },
      { name: 'memory', mountPath: '/memory' },
    ],
  };
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'volumes' },
    spec: { ...spec, containers: [...spec.containers, shell] },
  });
  await counted(await space.ready('volumes'));
  await inside(
    'volumes',
    'shell',
    `mkdir -p /disk/deep/er && echo text >/disk/deep/er/file && chmod 4750 /disk/deep/er/file && chown 7:8 /disk/deep/er/file && ln /disk/deep/er/file /disk/hard &&
     ln -s deep/er/file /disk/soft && truncate -s 64M /disk/sparse && mkfifo /disk/pipe && setfattr -n user.note -v kept /disk/deep/er/file && echo quick >/memory/note && chmod 0700 /memory/note`,
  );
  const describe = `cd / && find disk memory ! -name journal | sort | while read -r f; do stat -c '%n %f %u %g %h' "$f"; done && stat -c '%s %b' disk/sparse && cat disk/soft memory/note && getfattr -d disk/hard`;
  const before = await inside('volumes', 'shell', describe);
  await space.succeeded(await space.annotate('volumes', 'node-b'));
  const target = await space.ready('volumes');
  await counted(target);
  expect(await inside('volumes', 'shell', describe)).toBe(before);
  const journal = (await inside('volumes', 'shell', 'cat /disk/journal')).trim().split('\n').map(Number);
  expect(journal).toEqual(journal.map((_, index) => index + 1));
  expect(journal.length).toBeGreaterThanOrEqual((await ask(target)).count - 20);
});

it('moves a container whose image lost the name that it was made with', async () => {
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'nameless' }, spec: await counterSpec('node-a') });
  const source = await space.ready('nameless');
  const before = await counted(source);
  const id = source.status?.containerStatuses?.[0]?.containerID?.replace('containerd://', '') ?? '';
  const onSource = (...command: string[]) => handle('node', 'node-a', 'ctr', '-n', 'k8s.io', ...command);
  const { Image: name } = JSON.parse(await onSource('containers', 'info', id)) as { Image: string };
  const names = async () => (await onSource('images', 'ls', '-q')).split('\n');
  expect(await names()).toContain(name);
  await onSource('images', 'rm', '--sync', name);
  const began = performance.now();
  await space.succeeded(await space.annotate('nameless', 'node-b'));
  const target = await space.ready('nameless');
  expectSameMemory(before, await ask(target), (performance.now() - began) / 1000);
  expect(await names()).not.toContain(name);
});
