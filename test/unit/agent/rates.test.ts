import { Rates } from '../../../src/agent/rates.ts';

const mebi = 2 ** 20;

test('what is measured counts half of what was known', () => {
  const rates = new Rates();
  const [dump, send] = [rates.dump, rates.send(undefined)];
  rates.seen('dump', 1024 * mebi, 1000);
  rates.seen('send', 512 * mebi, 1000);
  expect(rates.dump).toBe((dump + 1024 * mebi) / 2);
  expect(rates.send(undefined)).toBe((send + 512 * mebi) / 2);
});

test('little says nothing, and no time neither', () => {
  const rates = new Rates();
  const before = rates.dump;
  rates.seen('dump', 64 * mebi, 300);
  rates.seen('dump', 1024 * mebi, 0);
  expect(rates.dump).toBe(before);
});

test('a limit is not exceeded', () => {
  expect(new Rates().send(10 * mebi)).toBe(10 * mebi);
});
