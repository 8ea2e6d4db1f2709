import { readFile } from 'node:fs/promises';
import { criuMessages } from '../../../src/plan/criu-messages.ts';

/** The rows of the table under "What CRIU refuses", its cells without the backticks. */
async function documented(): Promise<string[][]> {
  const text = await readFile(new URL('../../../docs/operations.md', import.meta.url), 'utf8');
  const [, section = ''] = text.split('## What CRIU refuses');
  const rows = section.split('\n## ')[0]?.match(/^\|.*\|$/gm) ?? [];
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.replaceAll('`', '').trim()),
  );
}

describe('docs/operations.md', () => {
  it('has what CRIU refuses as the conditions tell it', async () => {
    expect(await documented()).toEqual(criuMessages.map(({ says, cause, cure }) => [says[0], cause, cure]));
  });
});
