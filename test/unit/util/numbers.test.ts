import { Numbers } from '../../../src/util/numbers.ts';

test('as many as there are, in their order, also above 32 bits', () => {
  const numbers = new Numbers();
  const all = Array.from({ length: 10_000 }, (_, index) => index * 2 ** 21);
  for (const number of all) numbers.push(number);
  expect(numbers.length).toBe(10_000);
  expect(all.every((number, index) => numbers.get(index) === number)).toBe(true);
  expect([numbers.get(-1), numbers.get(10_000)]).toEqual([undefined, undefined]);
});

test('the last is another', () => {
  const numbers = new Numbers();
  expect(() => numbers.setLast(1)).toThrow(RangeError);
  for (let index = 0; index <= 4096; index++) numbers.push(index);
  numbers.setLast(7);
  expect([numbers.get(4095), numbers.get(4096), numbers.length]).toEqual([4095, 7, 4097]);
});
