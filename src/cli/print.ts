import { styleText } from 'node:util';
import { stringify } from 'yaml';
import { apiVersion, group } from '../api/names.ts';
import type { Verdict } from '../api/preview.ts';
import { countsOf, type Preview } from '../plan/policy/preview.ts';
import type { Format } from './options.ts';
import { table } from './table.ts';

const colours: Partial<Record<Verdict, 'green' | 'red' | 'yellow' | 'cyan'>> = {
  Migrate: 'green',
  Moving: 'cyan',
  Block: 'red',
  Evict: 'yellow',
};

/** A preview in a format. */
export function print(preview: Preview, format: Format, coloured = false): string {
  switch (format) {
    case 'table':
      return table(preview.pods, (verdict, text) => {
        const colour = colours[verdict];
        return coloured && colour ? styleText(colour, text, { validateStream: false }) : text;
      });
    case 'name':
      return preview.migrations.map(({ metadata }) => `migration.${group}/${metadata.name}\n`).join('');
    case 'json':
      return `${JSON.stringify(listOf(preview), null, 2)}\n`;
    case 'yaml':
      return stringify(listOf(preview), { lineWidth: 0, aliasDuplicateObjects: false });
  }
}

/** In one line how many pods would meet what. */
export function summary({ pods }: Preview, nodeName: string): string {
  const counts = Object.entries(countsOf(pods)).map(([verdict, count]) => `${count} ${verdict}`);
  return `node ${nodeName}: ${counts.join(', ') || 'no pods'}; nothing was done`;
}

function listOf({ migrations }: Preview) {
  return { apiVersion, kind: 'MigrationList', metadata: {}, items: migrations };
}
