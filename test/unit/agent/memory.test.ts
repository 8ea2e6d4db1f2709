import * as grpc from '@grpc/grpc-js';
import { memoryIn } from '../../../src/agent/containerd/memory.ts';
import { methods } from '../../../src/agent/containerd/protocol.ts';
import { ContainerdRuntime } from '../../../src/agent/containerd/runtime.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());
const patient = new AbortController().signal;

/** Fields of a protobuf message: numbers as varints, bytes as what is nested. */
function message(fields: Record<number, number | Buffer>): Buffer {
  return Buffer.concat(
    Object.entries(fields).flatMap(([number, value]) =>
      typeof value === 'number'
        ? [varint(Number(number) * 8), varint(value)]
        : [varint(Number(number) * 8 + 2), varint(value.length), value],
    ),
  );
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}

const v1 = 'io.containerd.cgroups.v1.Metrics';
const v2 = 'io.containerd.cgroups.v2.Metrics';

/** Numbers of the fields as in cgroup1/stats/metrics.proto and cgroup2/stats/metrics.proto of github.com/containerd/cgroups. */
test.each([
  ['v1: locked memory is on no list of anonymous pages', v1, { 4: message({ 1: 900, 2: 5, 19: 700, 28: 100, 29: 200 }) }, 700],
  ['v1: shared memory is not in total_rss', v1, { 4: message({ 19: 2_125_824, 28: 211_709_952, 29: 16_384 }) }, 211_726_336],
  ['v1: more than 32 bits, beside what is not looked at', v1, { 2: message({ 1: 3 }), 4: message({ 19: 2 ** 40 }) }, 2 ** 40],
  ['v2: anonymous and shared, no files', v2, { 4: message({ 1: 300, 2: 9000, 6: 40, 7: 9000 }) }, 340],
  ['v2: none of either', v2, { 4: message({ 2: 9000 }) }, 0],
  ['with the prefix that other libraries write', `type.googleapis.com/${v2}`, { 4: message({ 1: 300 }) }, 300],
  ['without the memory controller', v2, { 2: message({ 1: 3 }) }, undefined],
  ['v1 without it', v1, {}, undefined],
  ['of another kind', 'io.containerd.wasm.v1.Metrics', { 4: message({ 1: 300 }) }, undefined],
])('%s', (_what, type_url, fields, bytes) => {
  expect(memoryIn({ type_url, value: message(fields) })).toBe(bytes);
});

test('no metrics', () => {
  expect(memoryIn(undefined)).toBeUndefined();
  expect(memoryIn(null)).toBeUndefined();
});

/** containerd that has the metrics of one task. */
async function containerd(metrics: object[]) {
  const directory = cleanup.directory();
  const asked: unknown[] = [];
  const server = new grpc.Server();
  server.addService(
    { metrics: methods.taskMetrics },
    {
      metrics: (call: { request: unknown }, answer: (error: null, value: object) => void) => {
        asked.push(call.request);
        answer(null, { metrics });
      },
    },
  );
  const credentials = grpc.ServerCredentials.createInsecure();
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${directory}/containerd.sock`, credentials, (error) => (error ? reject(error) : resolve()));
  });
  cleanup.add(server, (it) => it.forceShutdown());
  return { runtime: cleanup.add(new ContainerdRuntime(directory, directory), (it) => it.close()), asked };
}

test('containerd is asked for the one task', async () => {
  const data = { type_url: v2, value: message({ 4: message({ 1: 300, 6: 40 }) }) };
  const { runtime, asked } = await containerd([
    { id: 'other', data: { type_url: v2 } },
    { id: '1f0', data },
  ]);
  expect(await runtime.memoryOf('1f0', patient)).toBe(340);
  expect(asked).toEqual([{ filters: ['id=="1f0"'] }]);
  expect(await runtime.memoryOf('gone', patient)).toBeUndefined();
});
