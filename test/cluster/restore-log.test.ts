import { onNode } from './support/counter.ts';
import { imageOf } from './support/images.ts';
import { onNode as inNode } from './support/lab.ts';
import { useNamespace } from './support/space.ts';

const space = useNamespace('test-restore-log');
const directory = '/srv/test-restore-log';

beforeAll(async () => {
  for (const node of ['node-a', 'node-b']) await inNode(node, 'mkdir', '-p', directory);
  await inNode('node-a', 'sh', '-c', `echo here >${directory}/only-here`);
});
afterAll(async () => {
  for (const node of ['node-a', 'node-b']) await inNode(node, 'rm', '-rf', directory);
});

// The runtime says no more than "criu failed: type RESTORE errno 0", and removes CRIU's log at once.
it('a restore that CRIU refuses: the condition has the cause and the cure', async () => {
  const shell = {
    name: 'shell',
    image: await imageOf('shell'),
    args: ['-c', 'exec 3</host/only-here; trap exit TERM; sleep 1000000 & wait'],
    volumeMounts: [{ name: 'host', mountPath: '/host', readOnly: true }],
  };
  await space.create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'opens' },
    spec: {
      terminationGracePeriodSeconds: 1,
      affinity: onNode('node-a'),
      volumes: [{ name: 'host', hostPath: { path: directory, type: 'Directory' } }],
      containers: [shell],
    },
  });
  await space.ready('opens');
  const migration = await space.finished(await space.annotate('opens', 'node-b'), 90_000);
  expect(migration.status?.failure).toEqual({
    reason: 'RestoreFailed',
    message:
      'target pod opens on node node-b: container shell was not restored: a file that the process has open cannot be opened in the target pod; ' +
      'to cure it, see that image and volumes are the same on both nodes; files in the layer of the container and in emptyDir come along, others do not',
  });
  const back = await space.ready('opens');
  expect(back.spec.nodeName).toBe('node-a');
  expect((await space.events('Migration', migration.metadata.name)).join('\n')).toMatch(/RestoreFailed .*to cure it/);
}, 150_000);
