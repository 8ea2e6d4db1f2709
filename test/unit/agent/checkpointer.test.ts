import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Checkpointer } from '../../../src/agent/checkpointer.ts';
import type { Kubelet } from '../../../src/agent/kubelet.ts';
import type { WriteCheckpoint } from '../../../src/agent/runtime.ts';
import { Cleanup } from '../image/fixtures.ts';
import { FakeRuntime, uid } from './fakes.ts';
import { sourceRequest } from './source-fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const app = { id: 'id-of-app', name: 'app' };
const signal = new AbortController().signal;
const request = sourceRequest('Shipped');

/** A runtime that writes checkpoints itself. */
class WritingRuntime extends FakeRuntime {
  #prepared = 0;

  async prepareCheckpoint(id: string): Promise<WriteCheckpoint> {
    const which = ++this.#prepared;
    this.calls.push(`prepare ${which}, of ${id}`);
    return (directory) => {
      this.calls.push(`write ${which}`);
      writeFileSync(join(directory, 'checkpoint/pages-1.img'), `${which}`);
      return { begun: Promise.resolve(), whole: Promise.resolve() };
    };
  }
}

function start(way: 'runtime' | 'kubelet' = 'runtime') {
  const runtime = new WritingRuntime().run('app');
  const kubelet = { checkpoint: async () => '/var/lib/kubelet/checkpoints/app.tar' } as Partial<Kubelet> as Kubelet;
  const directory = cleanup.directory();
  const checkpointer = new Checkpointer({ runtime, kubelet, way, directory, timeout: 10 });
  const checkpoint = async () => {
    const { archive, whole } = checkpointer.checkpoint(uid, request, app);
    await whole;
    return archive;
  };
  return { runtime, directory, checkpointer, checkpoint };
}

test('what was prepared is used by the next checkpoint, once; each has a directory of its own', async () => {
  const { runtime, checkpointer, checkpoint } = start();
  await checkpointer.prepare(uid, app, signal);
  const [first, second] = [await checkpoint(), await checkpoint()];
  expect(runtime.calls).toEqual(['prepare 1, of id-of-app', 'write 1', 'prepare 2, of id-of-app', 'write 2']);
  expect(first).not.toBe(second);
});

test('what was prepared for a freeze that did not come goes with what was written', async () => {
  const { runtime, directory, checkpointer, checkpoint } = start();
  await checkpoint();
  await checkpointer.prepare(uid, app, signal);
  await checkpointer.remove(uid);
  expect(existsSync(join(directory, uid))).toBe(false);
  await checkpoint();
  expect(runtime.calls.filter((call) => call.startsWith('write'))).toEqual(['write 1', 'write 3']);
});

test('a runtime that cannot: the archive is there, then, though nothing was written', async () => {
  const { runtime, checkpointer } = start();
  runtime.prepareCheckpoint = () => Promise.reject(new Error('no such container'));
  const { archive, whole } = checkpointer.checkpoint(uid, request, app);
  await expect(whole).rejects.toThrow('no such container');
  expect(existsSync(await archive)).toBe(true);
});

test('by the kubelet nothing is prepared', async () => {
  const { runtime, checkpointer, checkpoint } = start('kubelet');
  await checkpointer.prepare(uid, app, signal);
  expect(await checkpoint()).toBe('/var/lib/kubelet/checkpoints/app.tar');
  expect(runtime.calls).toEqual([]);
});
