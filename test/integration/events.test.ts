import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EventRecorder } from '../../src/kube/events.ts';
import { events, namespaces, pods } from '../../src/kube/resources.ts';
import { type ApiServer, startApiServer } from './harness.ts';

let server: ApiServer;

beforeAll(async () => {
  server = await startApiServer();
});

afterAll(async () => {
  await server?.stop();
});

const program = { controller: 'podferry.io/controller', instance: 'podferry-controller-0' };

async function podIn(namespace: string) {
  return server.client.create(pods, {
    metadata: { name: 'counted', namespace },
    spec: { containers: [{ name: 'main', image: 'example.com/none' }] },
  });
}

test('an event says what happened to which object; the same ones become a series', async () => {
  const namespace = await server.createNamespace('events');
  const pod = await podIn(namespace);
  const recorder = new EventRecorder(server.client, program);
  const note = { type: 'Warning', reason: 'CheckpointFailed', message: 'CRIU says no' } as const;
  recorder.record(pod, note);
  await recorder.flush();
  for (let count = 0; count < 4; count++) recorder.record(pod, note);
  recorder.record(pod, { type: 'Normal', reason: 'Committed', message: 'ü'.repeat(2000), action: 'Migrate' });
  await recorder.stop();
  const { items } = await server.client.list(events, { namespace });
  expect(items).toHaveLength(2);
  expect(items.find((item) => item.reason === 'CheckpointFailed')).toMatchObject({
    note: 'CRIU says no',
    type: 'Warning',
    reportingController: 'podferry.io/controller',
    regarding: { kind: 'Pod', name: 'counted', namespace, uid: pod.metadata.uid },
    series: { count: 5 },
  });
  const long = items.find((item) => item.reason === 'Committed');
  expect(Buffer.byteLength(long?.note ?? '')).toBeLessThanOrEqual(1024);
  expect(long?.note).toMatch(/^ü+…$/);
  expect(recorder.dropped).toBe(0);
});

test('one object cannot flood the API server', async () => {
  const namespace = await server.createNamespace('flood');
  const pod = await podIn(namespace);
  const recorder = new EventRecorder(server.client, { ...program, burst: 5 });
  for (let count = 0; count < 50; count++) recorder.record(pod, { type: 'Normal', reason: 'Progress', message: `step ${count}` });
  await recorder.stop();
  expect((await server.client.list(events, { namespace })).items).toHaveLength(5);
  expect(recorder.dropped).toBe(45);
});

test('events of cluster-wide objects lie in the namespace default', async () => {
  const name = await server.createNamespace('wide');
  const recorder = new EventRecorder(server.client, program);
  recorder.record(await server.client.get(namespaces, { name }), { type: 'Normal', reason: 'Tested', message: name });
  await recorder.stop();
  const { items } = await server.client.list(events, { namespace: 'default', fieldSelector: 'reason=Tested' });
  expect(items.filter((item) => item.note === name)).toHaveLength(1);
});

test('a refusal is reported, never thrown; an event written during a restart arrives once', async () => {
  const namespace = await server.createNamespace('refused');
  const pod = await podIn(namespace);
  const reported: unknown[] = [];
  const stranger = new EventRecorder(await server.clientFor('stranger'), { ...program, onError: (error) => reported.push(error) });
  stranger.record(pod, { type: 'Normal', reason: 'Tested', message: 'not allowed' });
  await stranger.stop();
  expect(String(reported[0])).toContain('403');
  expect(stranger.dropped).toBe(1);

  const recorder = new EventRecorder(server.client, program);
  await server.kill();
  recorder.record(pod, { type: 'Normal', reason: 'Tested', message: 'patience' });
  await server.start();
  await recorder.flush();
  expect((await server.client.list(events, { namespace })).items.map((item) => item.note)).toEqual(['patience']);
  await recorder.stop();
}, 60_000);
