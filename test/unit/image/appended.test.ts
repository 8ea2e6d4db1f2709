import { createHash, randomBytes } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { RegistryClient } from '../../../src/image/registry-client.ts';
import { breaking, growing, knowingNoPages } from './appended-fixtures.ts';
import { Cleanup, startRegistry } from './fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function start(options: Parameters<typeof startRegistry>[1] = {}) {
  const found = await startRegistry(cleanup, options);
  return { ...found, client: cleanup.client(new RegistryClient({ registry: found.registry, scheme: 'http' })) };
}

const expected = (content: Buffer) => ({
  digest: `sha256:${createHash('sha256').update(content).digest('hex')}`,
  size: content.length,
  crc32: crc32(content),
});

test('content is sent while it grows, and hashed where it arrives', async () => {
  const { client, store } = await start();
  const content = randomBytes(3_000_000);
  const source = growing(content, 1_000_000);
  const passed: number[] = [];
  const upload = client.uploadAppended('a/b', source, { onProgress: (bytes) => passed.push(bytes) });
  await sleep(50);
  expect(passed.at(-1)).toBe(1_000_000);
  source.grow(3_000_000);
  expect(await upload).toMatchObject(expected(content));
  expect(passed.at(-1)).toBe(3_000_000);
  expect(await store.verify(expected(content).digest)).toEqual({ digest: expected(content).digest, size: 3_000_000 });
});

test('nothing at all is a blob too', async () => {
  const { client } = await start();
  const nothing = Buffer.alloc(0);
  expect(await client.uploadAppended('a/b', growing(nothing, 0))).toMatchObject(expected(nothing));
});

test('it goes on where a connection broke, and the checksum is of the whole', async () => {
  const { client } = await start({ wrap: breaking(2, 2_000_000) });
  const content = randomBytes(9_000_000);
  expect(await client.uploadAppended('a/b', growing(content, content.length))).toMatchObject(expected(content));
});

test('what was being read ahead when the connection broke does not disturb what is read again', async () => {
  const { client } = await start({ wrap: breaking(1, 300_000) });
  const content = randomBytes(3_000_000);
  const whole = growing(content, content.length);
  const slowly = async (buffer: Buffer, position: number) => {
    // Longer than it waits before it goes on.
    if (position > 0) await sleep(300);
    return whole.read(buffer, position);
  };
  expect(await client.uploadAppended('a/b', { ...whole, read: slowly })).toMatchObject(expected(content));
});

test('connections that break again and again end it', async () => {
  const { client, directory } = await start({ wrap: breaking(Number.POSITIVE_INFINITY, 1) });
  const content = randomBytes(1_000_000);
  await expect(client.uploadAppended('a/b', growing(content, content.length))).rejects.toMatchObject({ code: 'unreachable' });
  expect(directory).toBeDefined();
}, 20_000);

test("the source's own failure is thrown as it is, and nothing is left of the upload", async () => {
  const { client, store } = await start();
  const source = { ...growing(randomBytes(1_000_000), 1_000_000), read: () => Promise.reject(new Error('the disk is gone')) };
  await expect(client.uploadAppended('a/b', source)).rejects.toThrow('the disk is gone');
  expect(await store.usage()).toBe(0);
});

test('a limit is asked before every piece, of what travels', async () => {
  const { client } = await start();
  const taken: number[] = [];
  const pace = { portion: (most: number) => Math.min(most, 100_000), take: async (bytes: number) => void taken.push(bytes) };
  const content = Buffer.concat([randomBytes(204_800), Buffer.alloc(40_960), randomBytes(45_200)]);
  const { wire } = await client.uploadAppended('a/b', growing(content, content.length), { pace });
  expect(taken.slice(0, 2)).toEqual([100_000, 100_000]);
  expect(taken.reduce((sum, bytes) => sum + bytes, 0)).toBe(wire);
  expect(wire).toBeGreaterThanOrEqual(250_000);
  expect(wire).toBeLessThan(250_100);
});

test('small pieces that wait in a socket stay as they were read', async () => {
  // Nobody reads at first, so that the system's own buffers fill up, and pieces wait.
  const slow: (handler: RequestListener) => RequestListener = (handler) => (request, response) =>
    void (request.method === 'PATCH' ? setTimeout(() => handler(request, response), 300) : handler(request, response));
  const { client } = await start({ wrap: (handler) => slow(knowingNoPages(handler)) });
  const content = randomBytes(12_000_000);
  const whole = growing(content, content.length);
  const source = { ...whole, read: (buffer: Buffer, position: number) => whole.read(buffer.subarray(0, 10_000), position) };
  expect(await client.uploadAppended('a/b', source)).toMatchObject(expected(content));
});
