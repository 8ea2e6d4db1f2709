import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LetGo } from '../../../src/archive/page-cache.ts';

const mebibyte = 2 ** 20;
let directory: string;
let path: string;
let digest: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'podferry-page-cache-'));
  path = join(directory, 'pages-1.img');
  const hash = createHash('sha256');
  await using file = await open(path, 'w');
  for (let written = 0; written < 192; written++) {
    const block = randomBytes(mebibyte);
    hash.update(block);
    await file.writeFile(block);
  }
  await file.sync();
  digest = hash.digest('hex');
});
afterEach(() => rm(directory, { recursive: true }));

/** What of the file is in memory (util-linux). Bytes. */
const inMemory = () => Number(execFileSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', path], { encoding: 'utf8' }));
const contentDigest = async () =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

test('what is before the position is let go of, what is behind it stays, and so does the content', async () => {
  expect(inMemory()).toBe(192 * mebibyte);
  {
    await using letGo = new LetGo(path);
    letGo.upTo(100 * mebibyte);
  }
  // A large folio that reaches across the position may go or stay.
  expect(inMemory()).toBeGreaterThanOrEqual(90 * mebibyte);
  expect(inMemory()).toBeLessThanOrEqual(94 * mebibyte);
  expect(await contentDigest()).toBe(digest);
});

test('it is done in large pieces, each once', async () => {
  await using letGo = new LetGo(path);
  letGo.upTo(15 * mebibyte);
  await letGo[Symbol.asyncDispose]();
  expect(inMemory()).toBe(192 * mebibyte);
  letGo.upTo(150 * mebibyte);
  // While that goes on.
  letGo.upTo(192 * mebibyte);
  await letGo[Symbol.asyncDispose]();
  expect(inMemory()).toBeLessThanOrEqual(44 * mebibyte);
});

test('all of it', async () => {
  await new LetGo(path).all();
  expect(inMemory()).toBe(0);
  expect(await contentDigest()).toBe(digest);
});

test('a file that is gone is nothing to worry about', async () => {
  await using letGo = new LetGo(join(directory, 'gone'));
  letGo.upTo(100 * mebibyte);
  await letGo.all();
});
