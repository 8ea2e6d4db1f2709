import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { codec } from './protocol.ts';

/**
 * containerd's shims outlive it, and can be spoken to without it: over ttrpc (github.com/containerd/ttrpc), which is a header of
 * ten bytes (length, stream, type, flags) and a protobuf message. Only what is needed when containerd is away.
 */
const request = codec('ShimRequest');
const response = codec('ShimResponse');
const resumption = codec('ResumeRequest');

const messageType = { request: 1, response: 2 } as const;
const headerBytes = 10;

/** The largest message of ttrpc (channel.go, messageLengthMax). Bytes. */
const longest = 4 << 20;

/** What one call may take. Milliseconds. */
const deadline = 10_000;

/**
 * Lets a paused container go on; one that runs already is no error.
 *
 * @param bundle the container's directory, which names its shim's socket (containerd core/runtime/v2/shim.go)
 * @throws Error when the shim does not answer or refuses
 */
export async function resumeByShim(bundle: string, id: string, signal: AbortSignal): Promise<void> {
  const { path, version } = await shimOf(bundle);
  const payload = resumption.encode({ id });
  const answer = await call(path, request.encode({ service: `containerd.task.v${version}.Task`, method: 'Resume', payload }), signal);
  const { status } = response.decode(answer) as { status: { code: number; message: string } | null };
  if (!status?.code || /running process/.test(status.message)) return;
  throw new Error(`the shim of container ${id} does not resume it: ${status.message}`);
}

/** containerd 2 writes bootstrap.json, 1.7 a file `address`. */
async function shimOf(bundle: string): Promise<{ path: string; version: number }> {
  const bootstrap = await readFile(join(bundle, 'bootstrap.json'), 'utf8').catch(() => undefined);
  const { address, version } = bootstrap
    ? (JSON.parse(bootstrap) as { address: string; version: number })
    : { address: await readFile(join(bundle, 'address'), 'utf8'), version: 2 };
  return { path: address.trim().replace(/^unix:\/\//, ''), version };
}

/** One call on a connection of its own. */
function call(path: string, message: Buffer, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, signal: AbortSignal.any([signal, AbortSignal.timeout(deadline)]) });
    const header = Buffer.alloc(headerBytes);
    header.writeUInt32BE(message.length, 0);
    // Streams of a client are odd.
    header.writeUInt32BE(1, 4);
    header.writeUInt8(messageType.request, 8);
    let received = Buffer.alloc(0);
    const end = (settle: () => void) => {
      settle();
      socket.destroy();
    };
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`the shim at ${path} closed the connection`)));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < headerBytes) return;
      const length = received.readUInt32BE(0);
      if (length > longest || received.readUInt8(8) !== messageType.response) {
        end(() => reject(new Error(`the shim at ${path} does not speak ttrpc`)));
      } else if (received.length >= headerBytes + length) end(() => resolve(received.subarray(headerBytes, headerBytes + length)));
    });
    socket.write(Buffer.concat([header, message]));
  });
}
