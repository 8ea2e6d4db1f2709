import { type Compression, chooseEncoding, compressionFor } from '../../../src/image/encoding-choice.ts';

const mib = 1024 * 1024;
const both: Compression[] = ['gzip', 'zstd'];
const zeros = { ratio: 4, speed: 1000 * mib };
const text = { ratio: 2.5, speed: 400 * mib };
const random = { ratio: 0.9999, speed: 280 * mib };
const slightly = { ratio: 1.1, speed: 300 * mib };
const gzip = { ratio: 4, speed: 40 * mib };

test.each([
  // Limited, or a slow link.
  { sample: zeros, limit: 10 * mib, expected: 'zstd' },
  { sample: text, limit: 10 * mib, expected: 'zstd' },
  { sample: text, link: 12 * mib, expected: 'zstd' },
  { sample: text, link: 12 * mib, limit: 1000 * mib, expected: 'zstd' },
  { sample: text, link: 1000 * mib, limit: 12 * mib, expected: 'zstd' },
  { sample: text, link: 110 * mib, expected: 'zstd' },
  { sample: random, limit: 10 * mib, expected: 'none' },
  { sample: slightly, limit: 10 * mib, expected: 'none' },
  // Fast.
  { sample: random, link: 400 * mib, expected: 'none' },
  { sample: text, link: 400 * mib, expected: 'none' },
  { sample: zeros, link: 1000 * mib, expected: 'none' },
  { sample: zeros, link: 300 * mib, expected: 'zstd' },
  // Not known.
  { sample: text, expected: 'none' },
  { limit: 10 * mib, expected: 'none' },
  // Only gzip, or nothing.
  { sample: gzip, limit: 10 * mib, accepts: ['gzip'] as Compression[], expected: 'gzip' },
  { sample: gzip, limit: 60 * mib, accepts: ['gzip'] as Compression[], expected: 'none' },
  { sample: text, limit: 10 * mib, accepts: [], expected: 'none' },
])('%j', ({ sample, link, limit, accepts = both, expected }) => {
  expect(chooseEncoding({ sample, link, limit, accepts })).toBe(expected);
});

test('gzip only where there is no zstd', () => {
  expect(compressionFor(['gzip', 'zstd'])).toBe('zstd');
  expect(compressionFor(['gzip'])).toBe('gzip');
  expect(compressionFor([])).toBeUndefined();
});
