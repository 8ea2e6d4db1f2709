import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { resumeByShim } from '../../../src/agent/containerd/shim.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());
const patient = new AbortController().signal;

/** A shim that gives this answer, in pieces; what it was asked. */
async function shim(answer: Buffer | undefined, describe: (bundle: string, socket: string) => void) {
  const bundle = cleanup.directory();
  const socket = join(bundle, 's');
  const asked: Buffer[] = [];
  const server = createServer((connection) => {
    connection.on('data', (chunk) => {
      asked.push(chunk);
      if (!answer) connection.end();
      else for (let index = 0; index < answer.length; index += 7) connection.write(answer.subarray(index, index + 7));
    });
    connection.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  cleanup.add(server, (it) => it.close());
  describe(bundle, socket);
  return { bundle, asked: () => Buffer.concat(asked) };
}

const modern = (bundle: string, socket: string) =>
  writeFileSync(join(bundle, 'bootstrap.json'), JSON.stringify({ version: 3, address: `unix://${socket}`, protocol: 'ttrpc' }));
const old = (bundle: string, socket: string) => writeFileSync(join(bundle, 'address'), `unix://${socket}\n`);

/** Header (length, stream 1, type 2, no flags) and body. */
function response(body: Buffer): Buffer {
  const header = Buffer.from('00000000000000010200', 'hex');
  header.writeUInt32BE(body.length, 0);
  return Buffer.concat([header, body]);
}

/** Response{status{code: 2, message}}. */
function refusal(message: string): Buffer {
  const status = Buffer.concat([Buffer.from([0x08, 2, 0x12, message.length]), Buffer.from(message)]);
  return response(Buffer.concat([Buffer.from([0x0a, status.length]), status]));
}

test.each([
  ['containerd 2', modern, 'containerd.task.v3.Task'],
  ['containerd 1.7', old, 'containerd.task.v2.Task'],
] as const)('%s: asks the shim to resume, byte for byte', async (_what, describe, service) => {
  const { bundle, asked } = await shim(response(Buffer.alloc(0)), describe);
  await resumeByShim(bundle, 'abc', patient);
  const body = Buffer.concat([
    Buffer.from([0x0a, service.length]),
    Buffer.from(service),
    Buffer.from([0x12, 6]),
    Buffer.from('Resume'),
    Buffer.from([0x1a, 5, 0x0a, 3]),
    Buffer.from('abc'),
  ]);
  const header = Buffer.from('00000000000000010100', 'hex');
  header.writeUInt32BE(body.length, 0);
  expect(asked().toString('hex')).toBe(Buffer.concat([header, body]).toString('hex'));
});

test('one that runs already is no error, another refusal is', async () => {
  const running = await shim(refusal('cannot resume a running process'), modern);
  await resumeByShim(running.bundle, 'abc', patient);
  const stopped = await shim(refusal('cannot resume a stopped process'), modern);
  await expect(resumeByShim(stopped.bundle, 'abc', patient)).rejects.toThrow(
    /container abc does not resume it: cannot resume a stopped process/,
  );
});

test('a shim that is gone, hangs up or speaks something else', async () => {
  await expect(resumeByShim(cleanup.directory(), 'abc', patient)).rejects.toThrow(/ENOENT/);
  const silent = await shim(undefined, modern);
  await expect(resumeByShim(silent.bundle, 'abc', patient)).rejects.toThrow(/closed the connection/);
  const http = await shim(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), modern);
  await expect(resumeByShim(http.bundle, 'abc', patient)).rejects.toThrow(/does not speak ttrpc/);
});
