import { setTimeout as sleep } from 'node:timers/promises';
import { Turns } from '../../../src/util/turns.ts';

test('one after the other, also after one that failed', async () => {
  const turns = new Turns();
  const said: string[] = [];
  const task =
    (name: string, fails = false) =>
    async () => {
      said.push(`${name} begins`);
      await sleep(5);
      said.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    };
  const all = await Promise.allSettled([turns.take(task('a')), turns.take(task('b', true)), turns.take(task('c'))]);
  expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(said).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});
