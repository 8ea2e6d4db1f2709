import { stripVTControlCharacters } from 'node:util';
import { parse } from 'yaml';
import type { PodPreview } from '../../../src/api/preview.ts';
import { print, summary } from '../../../src/cli/print.ts';
import { table } from '../../../src/cli/table.ts';
import type { Preview } from '../../../src/plan/policy/preview.ts';
import { made } from '../plan/policy/policies.ts';

const pods: PodPreview[] = [
  { namespace: 'shop', name: 'web-0', verdict: 'Migrate', policy: 'drains', message: 'now, to a node' },
  { namespace: 'a-longer-name', name: 'db', verdict: 'Block', policy: 'db', message: 'it cannot be moved: it uses hostNetwork' },
  { namespace: 'kube-system', name: 'proxy', verdict: 'Ignored', message: 'belongs to DaemonSet proxy' },
];
const preview: Preview = { pods, migrations: [made(undefined, { name: 'web-0-abc' }), made(undefined, { name: 'web-1-abc' })] };

const expected = `NAMESPACE       POD     POLICY   WHAT      WHERE/WHY
shop            web-0   drains   Migrate   now, to a node
a-longer-name   db      db       Block     it cannot be moved: it uses hostNetwork
kube-system     proxy   -        Ignored   belongs to DaemonSet proxy
`;

test('the table: aligned columns, a head, nothing for a missing policy but a dash', () => {
  expect(table(pods)).toBe(expected);
  expect(table([])).toBe('NAMESPACE   POD   POLICY   WHAT   WHERE/WHY\n');
});

test('colours do not move columns, and only the verdict has one', () => {
  const painted = table(pods, (verdict, text) => `<${verdict}:${text}>`);
  expect(painted.split('\n')[1]).toBe('shop            web-0   drains   <Migrate:Migrate>   now, to a node');
  expect(painted.replaceAll(/<\w+:([^>]*)>/g, '$1')).toBe(expected);
});

test('colours only where they are wanted', () => {
  expect(print(preview, 'table')).toBe(expected);
  const coloured = print(preview, 'table', true);
  expect(coloured).toContain('\u001b[32mMigrate');
  expect(coloured).toContain('\u001b[31mBlock');
  expect(stripVTControlCharacters(coloured)).toBe(expected);
});

test('json and yaml are the same MigrationList, name is one line each', () => {
  const list = JSON.parse(print(preview, 'json')) as unknown;
  expect(list).toEqual({
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'MigrationList',
    metadata: {},
    items: JSON.parse(JSON.stringify(preview.migrations)) as unknown,
  });
  expect(parse(print(preview, 'yaml'))).toEqual(list);
  expect(print(preview, 'name')).toBe('migration.podferry.io/web-0-abc\nmigration.podferry.io/web-1-abc\n');
});

test('the sum in one line', () => {
  expect(summary(preview, 'node-a')).toBe('node node-a: 1 Migrate, 1 Block, 1 Ignored; nothing was done');
  expect(summary({ pods: [], migrations: [] }, 'node-a')).toBe('node node-a: no pods; nothing was done');
});
