import { execFile } from 'node:child_process';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ensureCriuHook, linksFile } from '../../../src/agent/criu-hook.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function hook() {
  const directory = cleanup.directory();
  const path = join(directory, 'etc/podferry-hook');
  await ensureCriuHook(path);
  const images = join(directory, 'images');
  await mkdir(images);
  const run = (action: string) =>
    promisify(execFile)(path, { env: { PATH: process.env.PATH, CRTOOLS_SCRIPT_ACTION: action, CRTOOLS_IMAGE_DIR: images } });
  return { directory, path, images, run };
}

test('before a restore the memory is linked into the checkpoint, again too', async () => {
  const { directory, images, run } = await hook();
  const memory = join(directory, 'blob');
  await writeFile(memory, 'memory');
  await writeFile(join(images, linksFile), `pages-1.img ${memory}\n`);
  await run('pre-restore');
  await run('pre-restore');
  expect((await stat(join(images, 'pages-1.img'))).ino).toBe((await stat(memory)).ino);
});

test('what an earlier checkpoint holds is linked into its parent, and the maps of it lie in the checkpoint itself', async () => {
  const { directory, images, run } = await hook();
  const memory = join(directory, 'blob');
  await writeFile(memory, 'memory');
  await writeFile(join(images, 'parent-map'), 'map');
  await writeFile(join(images, linksFile), `parent/parent/pages-1.img ${memory}\nparent/parent/pagemap-1.img parent-map\n`);
  await run('pre-restore');
  await run('pre-restore');
  expect((await stat(join(images, 'parent/parent/pages-1.img'))).ino).toBe((await stat(memory)).ino);
  expect(await readFile(join(images, 'parent/parent/pagemap-1.img'), 'utf8')).toBe('map');
});

test.each(['pre-dump', 'post-restore', 'network-lock'])('it does nothing at %s', async (action) => {
  const { images, run } = await hook();
  await writeFile(join(images, linksFile), 'pages-1.img /nowhere\n');
  await run(action);
});

test('it does nothing for checkpoints of others', async () => {
  const { run } = await hook();
  await run('pre-restore');
});

test.each([
  ['memory that is gone', 'pages-1.img /nowhere\n'],
  ['a name that is not one of memory', 'core-1.img /etc/hostname\n'],
  ['a name outside of the checkpoint', 'pages-/../../x.img /etc/hostname\n'],
  ['a parent outside of the checkpoint', 'parent/../../x.img /etc/hostname\n'],
])('%s fails the restore', async (_, links) => {
  const { images, run } = await hook();
  await writeFile(join(images, linksFile), links);
  await expect(run('pre-restore')).rejects.toMatchObject({ code: 1 });
});

test('it is written once, executable for root', async () => {
  const { path } = await hook();
  const { mtimeMs, mode } = await stat(path);
  await ensureCriuHook(path);
  expect((await stat(path)).mtimeMs).toBe(mtimeMs);
  expect(mode & 0o777).toBe(0o755);
  await writeFile(path, 'old');
  await ensureCriuHook(path);
  expect(await readFile(path, 'utf8')).toContain('pre-restore');
});
