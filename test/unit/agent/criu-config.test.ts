import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ensureCriuConfig } from '../../../src/agent/criu-config.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const all = ['tcp-established', 'skip-in-flight', 'tcp-close', 'link-remap'];
const newPath = () => join(cleanup.directory(), 'criu', 'runc.conf');
const optionsIn = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line && !line.startsWith('#'));

function written(text: string): string {
  const path = newPath();
  mkdirSync(dirname(path));
  writeFileSync(path, text);
  return path;
}

test('without a file one is made, each option with its reason', async () => {
  const path = newPath();
  expect(await ensureCriuConfig(path)).toEqual(all);
  expect(optionsIn(path)).toEqual(all);
  expect(readFileSync(path, 'utf8')).toMatch(/^(# podferry: .+\n[a-z-]+\n){4}$/);
  expect(statSync(path).mode & 0o777).toBe(0o644);
});

test('again it changes nothing', async () => {
  const path = newPath();
  await ensureCriuConfig(path);
  const { mtimeMs, ino } = statSync(path);
  expect(await ensureCriuConfig(path)).toEqual([]);
  expect(statSync(path)).toMatchObject({ mtimeMs, ino });
  expect(readdirSync(dirname(path))).toEqual(['runc.conf']);
});

test('what an administrator wrote stays, with or without a last line break', async () => {
  for (const text of ['# ours\nghost-limit 10M\ntcp-close # as agreed', 'ghost-limit 10M\n\ttcp-close\n\n']) {
    const path = written(text);
    expect(await ensureCriuConfig(path)).toEqual(['tcp-established', 'skip-in-flight', 'link-remap']);
    const after = readFileSync(path, 'utf8');
    expect(after.startsWith(text)).toBe(true);
    expect(after.slice(text.length)).toMatch(/^\n?# podferry: /);
    expect(await ensureCriuConfig(path)).toEqual([]);
  }
});

test('a comment is no option, nor is a longer one', async () => {
  expect(await ensureCriuConfig(written('# tcp-close\n#link-remap\ntcp-established-not\n'))).toEqual(all);
});

test('a file that cannot be read is an error, and stays', async () => {
  const path = newPath();
  mkdirSync(path, { recursive: true });
  await expect(ensureCriuConfig(path)).rejects.toThrow(/EISDIR/);
  expect(existsSync(path)).toBe(true);
});
