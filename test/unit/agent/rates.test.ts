import { Rates } from '../../../src/agent/rates.ts';

const mebi = 2 ** 20;
const [small, large] = [64 * mebi, 1024 * mebi];

test('what is measured counts half of what was known, of small and large memory by itself', () => {
  const rates = new Rates();
  const known = () => ({
    dump: { small: rates.dump(small), large: rates.dump(large) },
    send: { small: rates.send(small, undefined), large: rates.send(large, undefined) },
  });
  const before = known();
  rates.seen('dump', large, 1000);
  rates.seen('send', small, 1000);
  expect(known()).toEqual({
    dump: { ...before.dump, large: (before.dump.large + large) / 2 },
    send: { ...before.send, small: (before.send.small + small) / 2 },
  });
});

test('very little says nothing, and no time neither', () => {
  const rates = new Rates();
  const before = [rates.dump(small), rates.dump(large)];
  rates.seen('dump', 31 * mebi, 10);
  rates.seen('dump', 1024 * mebi, 0);
  expect([rates.dump(small), rates.dump(large)]).toEqual(before);
});

test('a limit is not exceeded', () => {
  expect(new Rates().send(large, 10 * mebi)).toBe(10 * mebi);
});

test('what a limit held back says nothing of what may go without one', () => {
  const rates = new Rates();
  const before = rates.send(large, undefined);
  rates.seen('send', large, 10_000, 110 * mebi);
  expect(rates.send(large, undefined)).toBe(before);
  rates.seen('send', large, 10_000, 1000 * mebi);
  expect(rates.send(large, undefined)).toBeLessThan(before);
});
