import { encodePagemap, isPresent, readPagemap } from '../../../src/archive/pagemap.ts';

const word = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const magic = Buffer.concat([word(0x54564319), word(0x56084025)]);
const message = (...bytes: number[]) => Buffer.concat([word(bytes.length), Buffer.from(bytes)]);
/** pages_id 3 */
const head = message(0x08, 3);
/** vaddr 1, pages, and flags (4: present) where given. */
const entry = (pages: number, flags?: number) => message(0x08, 1, 0x10, pages, ...(flags === undefined ? [] : [0x20, flags]));
const image = (...parts: Buffer[]) => Buffer.concat([magic, head, ...parts]);

const pages = (bytes: Buffer) =>
  readPagemap(bytes, 'pagemap-1.img')
    .runs.filter(isPresent)
    .reduce((sum, run) => sum + run.pages, 0);

test('says which pages are in which file', () => {
  const runs = [5, 7].map((count) => ({ vaddr: 1, pages: count, flags: 4 }));
  expect(readPagemap(image(entry(5, 4), entry(7, 4)), 'pagemap-1.img')).toEqual({ id: 3, runs });
  expect(readPagemap(image(), 'pagemap-1.img')).toEqual({ id: 3, runs: [] });
});

test('pages that are lazy and present count, those of a parent or of zeros do not', () => {
  expect(pages(image(entry(5, 4 | 2), entry(7, 1), entry(9, 0)))).toBe(5);
});

test('without flags all are there, but for those of a parent', () => {
  expect(pages(image(entry(5), message(0x08, 1, 0x10, 7, 0x18, 1)))).toBe(5);
});

test('the 64-bit number of pages goes before the old one', () => {
  expect(pages(image(message(0x08, 1, 0x10, 7, 0x20, 4, 0x28, 0x80, 0x02)))).toBe(256);
});

test('what is written is read again, addresses beyond 32 bits too', () => {
  const map = {
    id: 9,
    runs: [
      { vaddr: 0x7fff_dead_b000, pages: 3, flags: 4 },
      { vaddr: 0x7fff_dead_e000, pages: 70_000, flags: 1 },
    ],
  };
  expect(readPagemap(encodePagemap(map), 'pagemap-1.img')).toEqual(map);
});

test.each([
  ['another image', Buffer.concat([word(0x54564319), word(0x50273030), head]), 'begins with something else'],
  ['nothing', Buffer.alloc(0), 'out of range|outside buffer bounds'],
  ['one that is cut short', image(entry(5, 4)).subarray(0, -1), 'cut short'],
  ['one without a head', magic, 'no head'],
])('%s is refused', (_, bytes, why) => {
  expect(() => readPagemap(bytes, 'pagemap-1.img')).toThrow(new RegExp(`pagemap-1.img is not the CRIU image it should be: .*(${why})`));
});
