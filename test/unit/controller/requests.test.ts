import { requestedMigration } from '../../../src/controller/requests.ts';
import { deepFreeze, namespace, pod } from '../plan/objects.ts';

const asking = (annotations: Record<string, string>, metadata: object = {}) => deepFreeze(pod({ metadata: { annotations, ...metadata } }));
const marked = { 'podferry.io/migrate-to': 'node-b', 'podferry.io/request': 'admission-1' };

test('a pod that is asked to move, by one who was allowed to ask, asks for a Migration', () => {
  expect(requestedMigration(asking(marked))).toEqual({
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'Migration',
    metadata: {
      namespace,
      name: expect.stringMatching(/^web-7d9f-abcde-[a-z0-9]{6}$/),
      annotations: { 'podferry.io/request': 'admission-1' },
    },
    spec: { pod: 'web-7d9f-abcde', destination: { nodeName: 'node-b' }, ttlSecondsAfterFinished: 86_400 },
  });
});

test('auto leaves the destination to the scheduler', () => {
  expect(requestedMigration(asking({ ...marked, 'podferry.io/migrate-to': 'auto' }))?.spec).not.toHaveProperty('destination');
});

test('one request makes one Migration, another one another', () => {
  const nameOf = (request: string) => requestedMigration(asking({ ...marked, 'podferry.io/request': request }))?.metadata.name;
  expect(nameOf('admission-1')).toBe(nameOf('admission-1'));
  expect(nameOf('admission-1')).not.toBe(nameOf('admission-2'));
  expect(requestedMigration(asking(marked, { name: 'p'.repeat(253) }))?.metadata.name.length).toBeLessThanOrEqual(63);
});

test("none without the webhook's mark, without a destination, or of a pod on its way out", () => {
  expect(requestedMigration(asking({ 'podferry.io/migrate-to': 'auto' }))).toBeUndefined();
  expect(requestedMigration(asking({ 'podferry.io/request': 'admission-1' }))).toBeUndefined();
  expect(requestedMigration(asking({ ...marked, 'podferry.io/migrate-to': '' }))).toBeUndefined();
  expect(requestedMigration(asking(marked, { deletionTimestamp: '2026-11-24T12:00:00Z' }))).toBeUndefined();
  expect(requestedMigration(pod())).toBeUndefined();
});
