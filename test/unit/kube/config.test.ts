import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { KubeClient } from '../../../src/kube/client.ts';
import { configOf, loadConfig } from '../../../src/kube/config.ts';
import { pods } from '../../../src/kube/resources.ts';
import { pathOf } from '../../../src/kube/types.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'podferry-config-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

test('a kubeconfig that is missing, broken or without the context is named', async () => {
  const file = join(directory, 'config');
  expect(() => loadConfig({ kubeconfig: file })).toThrow(`no usable kubeconfig in ${file}`);
  await writeFile(file, 'clusters: [');
  expect(() => loadConfig({ kubeconfig: file })).toThrow(`no usable kubeconfig in ${file}`);
  await writeFile(
    file,
    JSON.stringify({
      clusters: [{ name: 'c', cluster: { server: 'https://c' } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      users: [{ name: 'u', user: {} }],
    }),
  );
  expect(() => loadConfig({ kubeconfig: file, context: 'y' })).toThrow('has no context "y"');
  expect(loadConfig({ kubeconfig: file, context: 'x' }).getCurrentCluster()?.server).toBe('https://c');
});

test('a token that the API server no longer takes is asked for again, once', async () => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    const known = request.headers.authorization === 'Bearer second';
    response
      .writeHead(known ? 200 : 401, { 'content-type': 'application/json' })
      .end(JSON.stringify(known ? { kind: 'Pod' } : { kind: 'Status', reason: 'Unauthorized' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const config = configOf({ server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 'first' });
  const client = new KubeClient(config);
  try {
    const ref = { name: 'a', namespace: 'b' };
    await expect(client.get(pods, ref)).rejects.toMatchObject({ status: 401 });
    expect(seen).toEqual(['Bearer first', 'Bearer first']);
    Object.assign(config.getCurrentUser() ?? {}, { token: 'second' });
    expect(await client.get(pods, ref)).toEqual({ kind: 'Pod' });
  } finally {
    await client.close();
    server.close();
  }
});

test('paths are refused that would mean more than one object', () => {
  expect(pathOf(pods, 'a', 'b', 'status')).toBe('/api/v1/namespaces/a/pods/b/status');
  expect(() => pathOf(pods, 'a', '')).toThrow('empty name');
  expect(() => pathOf(pods, undefined, 'b')).toThrow('no namespace');
  expect(pathOf(pods, 'a/../b', 'c')).toBe('/api/v1/namespaces/a%2F..%2Fb/pods/c');
});
