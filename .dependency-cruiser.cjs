/** The import directions of docs/architecture.md: api ← plan ← shells; adapters import no shell and not each other. */
const folder = (name) => `^src/${name}/`;
const shells = '^src/(webhook|controller|agent|cli)/';
const adapters = ['kube', 'archive', 'image'];

module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-orphans', severity: 'error', from: { orphan: true, path: '^src/', pathNot: ['^src/main\\.ts$'] }, to: {} },
    { name: 'not-to-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'api-imports-only-schemas',
      severity: 'error',
      from: { path: folder('api') },
      to: { pathNot: [folder('api'), 'node_modules/zod/'] },
    },
    {
      name: 'plan-is-pure',
      severity: 'error',
      from: { path: folder('plan') },
      to: { pathNot: [folder('plan'), folder('api'), 'node_modules/zod/'] },
    },
    ...adapters.map((name) => ({
      name: `${name}-is-an-adapter`,
      severity: 'error',
      from: { path: folder(name) },
      to: { path: '^src/', pathNot: [folder(name), folder('api'), folder('util')] },
    })),
    {
      name: 'shells-import-no-shells',
      severity: 'error',
      from: { path: '^src/(webhook|controller|agent|cli)/' },
      to: { path: shells, pathNot: '^src/$1/' },
    },
    {
      name: 'cli-only-asks-the-api-server',
      severity: 'error',
      from: { path: folder('cli') },
      to: { path: '^src/', pathNot: ['cli', 'api', 'plan', 'kube', 'util'].map(folder) },
    },
    {
      name: 'client-only-in-kube',
      severity: 'error',
      from: { path: '^src/', pathNot: [folder('kube')] },
      to: { path: 'node_modules/@kubernetes/client-node/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'util-imports-nothing-of-ours',
      severity: 'error',
      from: { path: folder('util') },
      to: { path: '^src/', pathNot: [folder('util')] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
};
