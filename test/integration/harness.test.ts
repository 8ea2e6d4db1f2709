import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { stringify } from 'yaml';
import { customResourceDefinitions } from '../../src/api/crds.ts';
import { migrations } from '../../src/kube/resources.ts';
import { type ApiServer, eventually, startApiServer } from './harness.ts';

let server: ApiServer;

beforeAll(async () => {
  server = await startApiServer();
});

afterAll(async () => {
  await server?.stop();
});

test("podferry's own resource definitions are taken, and applied twice without harm", async () => {
  const file = join(server.directory, 'crds.yaml');
  await writeFile(
    file,
    customResourceDefinitions()
      .map((definition) => stringify(definition))
      .join('---\n'),
  );
  await server.applyManifests([file]);
  await server.applyManifests([file]);
  await server.waitForCrd('migrations.podferry.io');
  const namespace = await server.createNamespace('crd');
  const created = await server.client.create(migrations, {
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'Migration',
    metadata: { name: 'one', namespace },
    spec: { pod: 'counter' },
  });
  expect(created).toMatchObject({ kind: 'Migration', spec: { pod: 'counter', transfer: 'Direct' } });
  await expect(
    server.client.patch(migrations, { name: 'one', namespace }, { type: 'merge', body: { spec: { pod: 'other' } } }),
  ).rejects.toMatchObject({
    status: 422,
    message: expect.stringContaining('immutable'),
  });
});

test('a broken manifest is named', async () => {
  const file = join(server.directory, 'broken.yaml');
  await writeFile(file, 'apiVersion: v1\nkind: Nothing\nmetadata: { name: broken }\n');
  await expect(server.applyManifests([file])).rejects.toThrow(`${file}: Nothing broken`);
});

test('nothing is left of a run that was killed', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'podferry-killed-'));
  const program = `
    const { startApiServer } = await import(${JSON.stringify(join(import.meta.dirname, 'harness.ts'))});
    await startApiServer();
    console.log('ready');
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '', TMPDIR: scratch },
  });
  try {
    await once(child.stdout, 'data');
    expect(await processesUsing(scratch)).toHaveLength(2);
    child.kill('SIGKILL');
    await eventually(async () => {
      expect(await processesUsing(scratch)).toEqual([]);
      expect(await readdir(scratch)).toEqual([]);
    });
  } finally {
    child.kill('SIGKILL');
    await rm(scratch, { recursive: true, force: true });
  }
}, 60_000);

/** etcd and kube-apiserver whose arguments name the directory. */
async function processesUsing(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (/^[^\0]*(etcd|kube-apiserver)\0/.test(command) && command.includes(directory)) found.push(pid);
  }
  return found;
}

test('everything is gone after a stop', async () => {
  const other = await startApiServer();
  expect(await processesUsing(other.directory)).toHaveLength(2);
  await other.stop();
  expect(await processesUsing(other.directory)).toEqual([]);
  await expect(access(other.directory)).rejects.toThrow();
}, 60_000);
