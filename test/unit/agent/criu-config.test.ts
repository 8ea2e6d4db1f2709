import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ensureCriuConfig } from '../../../src/agent/criu-config.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const hook = '/etc/criu/podferry-hook';
const hookLine = `action-script ${hook}`;
const all = ['tcp-established', 'skip-in-flight', 'tcp-close', 'network-lock', 'link-remap', 'action-script'];
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
  expect(await ensureCriuConfig(path, hook)).toEqual(all);
  expect(optionsIn(path)).toEqual(['tcp-established', 'skip-in-flight', 'tcp-close', 'network-lock skip', 'link-remap', hookLine]);
  expect(readFileSync(path, 'utf8')).toMatch(/^(# podferry: .+\n[a-z-].*\n){6}$/);
  expect(statSync(path).mode & 0o777).toBe(0o644);
});

test('again it changes nothing', async () => {
  const path = newPath();
  await ensureCriuConfig(path, hook);
  const { mtimeMs, ino } = statSync(path);
  expect(await ensureCriuConfig(path, hook)).toEqual([]);
  expect(statSync(path)).toMatchObject({ mtimeMs, ino });
  expect(readdirSync(dirname(path))).toEqual(['runc.conf']);
});

test('what an administrator wrote stays, with or without a last line break', async () => {
  for (const text of ['# ours\nghost-limit 10M\ntcp-close # as agreed', 'ghost-limit 10M\n\ttcp-close\n\n']) {
    const path = written(text);
    expect(await ensureCriuConfig(path, hook)).toEqual([
      'tcp-established',
      'skip-in-flight',
      'network-lock',
      'link-remap',
      'action-script',
    ]);
    const after = readFileSync(path, 'utf8');
    expect(after.startsWith(text)).toBe(true);
    expect(after.slice(text.length)).toMatch(/^\n?# podferry: /);
    expect(await ensureCriuConfig(path, hook)).toEqual([]);
  }
});

test('another value of an option stays', async () => {
  const path = written('network-lock nftables\n');
  expect(await ensureCriuConfig(path, hook)).not.toContain('network-lock');
  expect(readFileSync(path, 'utf8')).toMatch(/^network-lock nftables\n/);
});

test('a comment is no option, nor is a longer one', async () => {
  expect(await ensureCriuConfig(written('# tcp-close\n#link-remap\ntcp-established-not\n'), hook)).toEqual(all);
});

test('a file that cannot be read is an error, and stays', async () => {
  const path = newPath();
  mkdirSync(path, { recursive: true });
  await expect(ensureCriuConfig(path, hook)).rejects.toThrow(/EISDIR/);
  expect(existsSync(path)).toBe(true);
});
