import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { customResourceDefinitions } from '../../../src/api/crds.ts';

const directory = join(import.meta.dirname, '../../../manifests/base/crds');

it.each(customResourceDefinitions().map((crd) => [crd.spec.names.plural, crd] as const))(
  'manifests/base/crds/%s.yaml is what `npm run generate` makes',
  async (plural, crd) => {
    expect(parse(await readFile(join(directory, `${plural}.yaml`), 'utf8'))).toEqual(JSON.parse(JSON.stringify(crd)));
  },
);
