import { readFile } from 'node:fs/promises';
import { reasons } from '../../../src/api/reasons.ts';

/** First cells of the table's rows: | `Reason` | … */
async function documented(): Promise<string[]> {
  const text = await readFile(new URL('../../../docs/reasons.md', import.meta.url), 'utf8');
  return [...text.matchAll(/^\| `([A-Za-z]+)` +\|/gm)].map(([, reason]) => reason ?? '');
}

describe('docs/reasons.md', () => {
  it.each(Object.values(reasons))('says what %s means', async (reason) => {
    expect((await documented()).filter((candidate) => candidate === reason)).toEqual([reason]);
  });

  it('names no reason that does not exist', async () => {
    const known = new Set<string>(Object.values(reasons));
    expect((await documented()).filter((reason) => !known.has(reason))).toEqual([]);
  });
});
