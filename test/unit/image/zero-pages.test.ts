import fc from 'fast-check';
import { pageBytes, type Run, squeezeZeroPages } from '../../../src/image/zero-pages.ts';

/** What the runs say that was there. */
function restored(literal: Buffer, runs: Run[]): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const run of runs) {
    parts.push(literal.subarray(at, at + run.literal), Buffer.alloc(run.zeros));
    at += run.literal;
  }
  expect(at).toBe(literal.length);
  return Buffer.concat(parts);
}

/** Pages of their kinds: `z`eros, `r`andom, `l`ate (only its last byte is not zero). */
function pages(kinds: string): Buffer {
  const page = (kind: string) => {
    if (kind === 'r') return Buffer.alloc(pageBytes, 7);
    const found = Buffer.alloc(pageBytes);
    if (kind === 'l') found[pageBytes - 1] = 1;
    return found;
  };
  return Buffer.concat([...kinds].map(page));
}

test.each([
  ['rrr', [[3, 0]]],
  [
    'zrr',
    [
      [0, 1],
      [2, 0],
    ],
  ],
  [
    'rzr',
    [
      [1, 1],
      [1, 0],
    ],
  ],
  ['rrz', [[2, 1]]],
  ['zzz', [[0, 3]]],
  [
    'lzl',
    [
      [1, 1],
      [1, 0],
    ],
  ],
])('%s', (kinds, expected) => {
  const content = pages(kinds);
  const buffer = Buffer.from(content);
  const runs: Run[] = [];
  const kept = squeezeZeroPages(buffer, 8 * pageBytes, runs);
  expect(runs.map(({ literal, zeros }) => [literal / pageBytes, zeros / pageBytes])).toEqual(expected);
  expect(restored(buffer.subarray(0, kept), runs).equals(content)).toBe(true);
});

test('any content, from any position, in any parts', () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[zrl]{0,9}$/),
      fc.nat(3 * pageBytes),
      fc.nat(pageBytes),
      fc.nat(9 * pageBytes),
      (kinds, position, cut, middle) => {
        const content = pages(kinds).subarray(cut);
        const runs: Run[] = [];
        const literals: Buffer[] = [];
        for (const [from, to] of [
          [0, middle],
          [middle, content.length],
        ] as const) {
          const part = Buffer.from(content.subarray(from, to));
          literals.push(part.subarray(0, squeezeZeroPages(part, position + from, runs)));
        }
        expect(restored(Buffer.concat(literals), runs).equals(content)).toBe(true);
      },
    ),
  );
});

test('pages are counted from the beginning of the file', () => {
  // Zeros enough for a page, but of two.
  const content = Buffer.concat([Buffer.alloc(2048, 1), Buffer.alloc(pageBytes), Buffer.alloc(2048, 1)]);
  expect(squeezeZeroPages(Buffer.from(content), 0, [])).toBe(content.length);
  expect(squeezeZeroPages(Buffer.from(content), 2048, [])).toBe(content.length - pageBytes);
});
