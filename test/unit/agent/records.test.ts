import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Records } from '../../../src/agent/records.ts';
import { Cleanup } from '../image/fixtures.ts';
import { otherUid, uid } from './fakes.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function open() {
  const directory = join(cleanup.directory(), 'records');
  const records = new Records<{ n: number }>(directory);
  const first = await records.load();
  return { directory, records, first, path: join(directory, `${uid}.json`), reload: () => new Records<{ n: number }>(directory).load() };
}

test('a directory that is not there yet is made, for its owner alone', async () => {
  const { directory, first } = await open();
  expect(first).toEqual({ records: new Map(), damaged: [] });
  expect(statSync(directory).mode & 0o777).toBe(0o700);
});

test('what was written is there for the next process, for its owner alone, and nothing besides', async () => {
  const { directory, records, path, reload } = await open();
  await records.write(uid, { n: 1 });
  await records.write(otherUid, { n: 2 });
  expect((await reload()).records).toEqual(
    new Map([
      [uid, { n: 1 }],
      [otherUid, { n: 2 }],
    ]),
  );
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(directory).sort()).toEqual([`${uid}.json`, `${otherUid}.json`]);
  await records.remove(uid);
  await records.remove(uid);
  expect([...(await reload()).records.keys()]).toEqual([otherUid]);
});

test('the value counts as it was when it was given', async () => {
  const { records, reload } = await open();
  const value = { n: 1 };
  const write = records.write(uid, value);
  value.n = 2;
  await write;
  expect((await reload()).records.get(uid)).toEqual({ n: 1 });
});

test('writes and removals of one key keep their order', async () => {
  const { records, path, reload } = await open();
  const writes = Array.from({ length: 20 }, (_, n) => records.write(uid, { n }));
  await Promise.all(writes);
  expect((await reload()).records.get(uid)).toEqual({ n: 19 });
  await Promise.all([records.write(uid, { n: 1 }), records.remove(uid)]);
  expect(existsSync(path)).toBe(false);
  await Promise.all([records.remove(uid), records.write(uid, { n: 2 })]);
  expect((await reload()).records.get(uid)).toEqual({ n: 2 });
});

test('what a crash left half-written is removed, and the record before it stays', async () => {
  const { directory, records, path, reload } = await open();
  await records.write(uid, { n: 1 });
  writeFileSync(`${path}.tmp`, '{"n":');
  expect((await reload()).records).toEqual(new Map([[uid, { n: 1 }]]));
  expect(readdirSync(directory)).toEqual([`${uid}.json`]);
});

test('a damaged record is reported and left for a person to look at; others are read', async () => {
  const { directory, records, path, reload } = await open();
  await records.write(otherUid, { n: 2 });
  writeFileSync(path, '{"n":');
  writeFileSync(join(directory, 'notes.txt'), 'not a record');
  expect(await reload()).toEqual({ records: new Map([[otherUid, { n: 2 }]]), damaged: [path] });
  expect(await readFile(path, 'utf8')).toBe('{"n":');
});

test.each(['', 'x', '../../etc/passwd', `${uid}/x`, `${uid}\n`, uid.toUpperCase().replaceAll('4', 'A')])('%j is no key', async (key) => {
  const { directory, records } = await open();
  await expect(records.write(key, { n: 1 })).rejects.toThrow('not the uid of a Migration');
  await expect(records.remove(key)).rejects.toThrow('not the uid of a Migration');
  expect(readdirSync(directory)).toEqual([]);
});

test('a write that fails is told, and the next one is tried', async () => {
  const { records, reload } = await open();
  const loop: { n: number; self?: unknown } = { n: 1 };
  loop.self = loop;
  expect(() => records.write(uid, loop)).toThrow();
  await records.write(uid, { n: 2 });
  expect((await reload()).records.get(uid)).toEqual({ n: 2 });
});
