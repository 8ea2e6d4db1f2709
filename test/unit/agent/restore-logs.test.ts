import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RemovedLog, RestoreLogs } from '../../../src/agent/containerd/restore-logs.ts';
import { Cleanup, until } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Follows a directory as the shims use it. */
function follow(wanted = () => true) {
  const directory = cleanup.directory();
  const logs = new RestoreLogs(directory);
  const seen: RemovedLog[] = [];
  const stop = new AbortController();
  const done = (async () => {
    for await (const removed of logs.removed(wanted, stop.signal)) seen.push(removed);
  })();
  cleanup.add(stop, async (it) => {
    it.abort();
    await done;
  });
  const begin = (id: string) => {
    mkdirSync(join(directory, id));
    writeFileSync(join(directory, id, 'restore.log'), '(00.000001) Version: 4.2.1\n');
  };
  const write = (id: string, line: string) => appendFileSync(join(directory, id, 'restore.log'), `${line}\n`);
  const remove = (id: string) => rmSync(join(directory, id), { recursive: true });
  return { logs, seen, stop, done, begin, write, remove };
}

/** Longer than between two looks. */
const moment = () => sleep(200);

test('a log that is removed is told whole, with what was written after it was opened', async () => {
  const { seen, begin, write, remove } = follow();
  await moment();
  begin('one');
  begin('two');
  await moment();
  write('one', '(00.1) Error (criu/files-reg.c:1): no such file');
  remove('one');
  await until(() => seen.length === 1);
  expect(seen).toEqual([{ id: 'one', log: '(00.000001) Version: 4.2.1\n(00.1) Error (criu/files-reg.c:1): no such file\n' }]);
  remove('two');
  await until(() => seen.length === 2);
});

test('of a long one the end', async () => {
  const { seen, begin, write, remove } = follow();
  await moment();
  begin('one');
  await moment();
  write('one', `${'x'.repeat(600_000)} the end`);
  remove('one');
  await until(() => seen.length === 1);
  expect(seen[0]?.log).toHaveLength(256 * 1024);
  expect(seen[0]?.log).toMatch(/the end\n$/);
});

test('nothing is told of restores that went well, that nobody waits for, or that had begun before', async () => {
  let wanted = false;
  const { seen, begin, remove } = follow(() => wanted);
  begin('before');
  begin('unwanted');
  await moment();
  remove('unwanted');
  wanted = true;
  await sleep(300);
  begin('good');
  begin('bad');
  await moment();
  remove('before');
  remove('bad');
  await until(() => seen.length > 0);
  await moment();
  // Its container ends long after.
  wanted = false;
  await sleep(300);
  remove('good');
  wanted = true;
  await sleep(300);
  expect(seen.map(({ id }) => id)).toEqual(['bad']);
});

test('it ends when told to, and says when there is nothing to watch', async () => {
  const { begin, stop, done } = follow();
  begin('one');
  await moment();
  stop.abort();
  await done;
  const nowhere = new RestoreLogs(join(cleanup.directory(), 'none')).removed(() => true, new AbortController().signal);
  await expect(nowhere.next()).rejects.toThrow(/ENOENT/);
});
