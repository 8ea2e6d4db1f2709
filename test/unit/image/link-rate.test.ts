import { LinkRate } from '../../../src/image/link-rate.ts';

const mib = 1024 * 1024;
const sent = (mibs: number, seconds: number, compressed = false) => ({
  wire: mibs * mib,
  content: mibs * (compressed ? 4 : 1) * mib,
  seconds,
  compressed,
});

test('what went as it is tells the rate, the last the most', () => {
  const link = new LinkRate();
  expect(link.rate).toBeUndefined();
  link.sent(sent(10, 1));
  expect(link.rate).toBe(10 * mib);
  link.sent(sent(20, 1));
  expect(link.rate).toBe(15 * mib);
});

test('a little tells nothing', () => {
  const link = new LinkRate();
  link.sent(sent(0.5, 1));
  expect(link.rate).toBeUndefined();
});

test('what went compressed tells only that the link is not slower', () => {
  const link = new LinkRate();
  link.sent(sent(10, 1, true));
  expect(link.rate).toBeUndefined();
  link.sent(sent(10, 1));
  link.sent(sent(5, 1, true));
  expect(link.rate).toBe(10 * mib);
  link.sent(sent(12, 1, true));
  expect(link.rate).toBe(12 * mib);
});

test('what was mostly zeros tells no more', () => {
  const link = new LinkRate();
  link.sent({ ...sent(10, 1), content: 60 * mib });
  expect(link.rate).toBeUndefined();
  link.sent(sent(10, 1));
  link.sent({ ...sent(5, 1), content: 60 * mib });
  expect(link.rate).toBe(10 * mib);
});

test('after much that went compressed the link is measured again, but not below a limit', () => {
  const link = new LinkRate();
  link.sent(sent(10, 1));
  link.sent(sent(255, 1000, true));
  expect(link.due(undefined)).toBe(false);
  link.sent(sent(1, 1000, true));
  expect(link.due(undefined)).toBe(true);
  expect(link.due(10 * mib)).toBe(false);
  expect(link.due(100 * mib)).toBe(true);
  link.sent(sent(10, 1));
  expect(link.due(undefined)).toBe(false);
});
