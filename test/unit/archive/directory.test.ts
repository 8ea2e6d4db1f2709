import { appendFile, chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { GrowingFile, isPages, packCheckpoint } from '../../../src/archive/directory.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());
const patient = new AbortController().signal;

async function checkpoint(): Promise<string> {
  const directory = cleanup.directory();
  await mkdir(join(directory, 'checkpoint'));
  await writeFile(join(directory, 'config.dump'), '{}');
  await writeFile(join(directory, 'checkpoint/pages-1.img'), 'p'.repeat(5000));
  await writeFile(join(directory, 'checkpoint/core-1.img'), '');
  await chmod(join(directory, 'config.dump'), 0o600);
  return directory;
}

async function entriesOf(archive: Buffer) {
  const entries: { name: string; type: string; mode: number; text: string }[] = [];
  const parser = extract();
  parser.end(archive);
  for await (const entry of parser) {
    const { name, type, mode } = entry.header;
    entries.push({ name, type: type ?? '', mode: (mode ?? 0) & 0o777, text: (await buffer(entry)).toString() });
  }
  return entries;
}

test('a directory becomes the tar that an archive is', async () => {
  const archive = await buffer(packCheckpoint(await checkpoint()));
  expect(archive.length % 512).toBe(0);
  expect(await entriesOf(archive)).toEqual([
    { name: 'checkpoint/', type: 'directory', mode: expect.any(Number), text: '' },
    { name: 'checkpoint/core-1.img', type: 'file', mode: expect.any(Number), text: '' },
    { name: 'checkpoint/pages-1.img', type: 'file', mode: expect.any(Number), text: 'p'.repeat(5000) },
    { name: 'config.dump', type: 'file', mode: 0o600, text: '{}' },
  ]);
});

test('the same files make the same bytes', async () => {
  const directory = await checkpoint();
  expect(await buffer(packCheckpoint(directory))).toEqual(await buffer(packCheckpoint(directory)));
});

test('files are left out and added', async () => {
  const archive = await buffer(
    packCheckpoint(await checkpoint(), { without: (name) => name === 'checkpoint/pages-1.img', added: [['checkpoint/links', 'a b\n']] }),
  );
  const entries = await entriesOf(archive);
  expect(entries.map(({ name }) => name)).toEqual(['checkpoint/', 'checkpoint/core-1.img', 'config.dump', 'checkpoint/links']);
  expect(entries.at(-1)).toEqual({ name: 'checkpoint/links', type: 'file', mode: 0o600, text: 'a b\n' });
});

test('what containerd would refuse to restore is refused', async () => {
  const directory = await checkpoint();
  await symlink('/etc/passwd', join(directory, 'checkpoint/link'));
  await expect(buffer(packCheckpoint(directory))).rejects.toThrow(/link is neither a file nor a directory/);
});

describe('a file that grows', () => {
  async function open(text: string, whole: Promise<void>) {
    const path = join(cleanup.directory(), 'pages');
    await writeFile(path, text);
    return { path, file: cleanup.add(await GrowingFile.open(path, whole), (it) => it.close()) };
  }
  const read = async (file: GrowingFile, position: number, length: number) => {
    const into = Buffer.alloc(length);
    return into.subarray(0, await file.read(into, position)).toString();
  };

  test('is read to its end, also what comes just before it', async () => {
    const { promise: whole, resolve } = Promise.withResolvers<void>();
    const { path, file } = await open('one ', whole);
    expect(await file.available(0, patient)).toBe(4);
    const more = file.available(4, patient);
    await new Promise((next) => setTimeout(next, 30));
    await appendFile(path, 'two');
    resolve();
    expect(await more).toBe(3);
    expect(await file.available(7, patient)).toBe(0);
    expect([await read(file, 0, 5), await read(file, 5, 10), await read(file, 7, 1)]).toEqual(['one t', 'wo', '']);
  });

  test('fails with what keeps it from becoming whole, once that matters', async () => {
    const whole = Promise.reject(new Error('CRIU gave up'));
    whole.catch(() => undefined);
    const { file } = await open('one', whole);
    expect(await file.available(0, patient)).toBe(3);
    await expect(file.available(3, patient)).rejects.toThrow('CRIU gave up');
  });

  test('is let go when it is not wanted any more', async () => {
    const { file } = await open('one', new Promise(() => undefined));
    const stop = new AbortController();
    const more = file.available(3, stop.signal);
    stop.abort(new Error('enough'));
    await expect(more).rejects.toThrow(/enough|aborted/);
  });
});

test('files of memory are known by their names', () => {
  expect(['pages-1.img', 'pages-22.img', 'pagemap-1.img', 'pages-1.img.gz', 'xpages-1.img'].filter(isPages)).toEqual([
    'pages-1.img',
    'pages-22.img',
  ]);
});
