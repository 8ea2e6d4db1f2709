import { isFile, parsePolicy } from '../../../src/cli/policy-file.ts';

const head = 'apiVersion: podferry.io/v1alpha1\nkind: MigrationPolicy\nmetadata: {name: drains}\n';

test.each([
  ['drains', false],
  ['drains.v2', false],
  ['./drains', true],
  ['/etc/drains', true],
  ['drains.yaml', true],
  ['drains.yml', true],
  ['drains.json', true],
  ['-', true],
])('%s is a file: %s', (given, expected) => {
  expect(isFile(given)).toBe(expected);
});

test('the one policy among other objects, with the defaults of the API server', () => {
  const other = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\n';
  expect(parsePolicy('x.yaml', `${other}${head}spec: {limits: {perSource: 2}}\n---\n`)).toEqual({
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'MigrationPolicy',
    metadata: { name: 'drains' },
    spec: { priority: 0, limits: { perSource: 2 }, onFailure: 'Block', retries: 2, deadlineSeconds: 1800, transfer: 'Direct' },
  });
  expect(
    parsePolicy(
      'x.json',
      JSON.stringify({
        ...JSON.parse('{"apiVersion":"podferry.io/v1alpha1","kind":"MigrationPolicy"}'),
        metadata: { name: 'j' },
        spec: {},
      }),
    ).metadata.name,
  ).toBe('j');
});

test.each([
  ['no policy', 'apiVersion: v1\nkind: Pod\n', 'x.yaml has 0 objects of kind MigrationPolicy, and has to have one'],
  ['nothing at all', '', 'x.yaml has 0 objects'],
  ['two', `${head}spec: {}\n---\n${head}spec: {}\n`, 'x.yaml has 2 objects'],
  ['no YAML', 'a: [', 'x.yaml is not YAML: '],
  ['no name', 'apiVersion: podferry.io/v1alpha1\nkind: MigrationPolicy\nspec: {}\n', 'the policy in x.yaml needs a metadata.name'],
  ['another version', head.replace('v1alpha1', 'v9'), 'the policy in x.yaml is of podferry.io/v9'],
  ['no spec', head, 'policy drains in x.yaml is not valid: spec: '],
  ['a bad field', `${head}spec: {limits: {perSource: 0}}`, 'policy drains in x.yaml is not valid: spec.limits.perSource: '],
])('%s: said in one sentence', (_what, text, message) => {
  expect(() => parsePolicy('x.yaml', text)).toThrow(message);
});
