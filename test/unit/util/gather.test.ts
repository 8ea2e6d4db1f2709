import { Gather } from '../../../src/util/gather.ts';

const kib = 1024;

/** Sizes of what comes of pieces of such sizes; their content is compared too. */
function gathered(sizes: number[]): number[] {
  const pieces = sizes.map((size, index) => Buffer.alloc(size, index + 1));
  const gather = new Gather();
  const out = [...pieces.flatMap((piece) => [...gather.add(piece)]), ...gather.rest()];
  expect(Buffer.concat(out).equals(Buffer.concat(pieces))).toBe(true);
  return out.map(({ length }) => length);
}

test('small pieces go together, up to 256 KiB', () => {
  expect(gathered([512, 1000, 24])).toEqual([1536]);
  expect(gathered(Array(300).fill(kib))).toEqual([256 * kib, 44 * kib]);
});

test('a large one goes as it is, after what came before it', () => {
  expect(gathered([512, 64 * kib, 512])).toEqual([512, 64 * kib, 512]);
  expect(gathered([200 * kib])).toEqual([200 * kib]);
});

test('of nothing comes nothing', () => {
  expect(gathered([])).toEqual([]);
  expect(gathered([0])).toEqual([]);
});
