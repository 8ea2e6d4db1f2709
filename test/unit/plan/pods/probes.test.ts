import type { Container } from '../../../../src/api/pod.ts';
import { freezeBudget } from '../../../../src/plan/pods/probes.ts';
import { pod } from '../objects.ts';

const budgetOf = (...probes: (object | undefined)[]) =>
  freezeBudget(pod({ spec: { containers: probes.map((livenessProbe, index): Container => ({ name: `c${index}`, livenessProbe })) } }));

test('without a liveness probe, or with one that a frozen process does not fail, nothing bounds the freeze', () => {
  expect(budgetOf(undefined)).toBeUndefined();
  expect(budgetOf({ exec: { command: ['true'] }, periodSeconds: 1 })).toBeUndefined();
  expect(
    freezeBudget(pod({ spec: { containers: [{ name: 'app', readinessProbe: { httpGet: {} }, startupProbe: { httpGet: {} } }] } })),
  ).toBeUndefined();
});

test('the failures in a row that are allowed, the first at the moment of the freeze, less a second to answer again', () => {
  expect(budgetOf({ httpGet: {} })).toBe(20_000);
  expect(budgetOf({ tcpSocket: {}, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 2 })).toBe(7000);
  expect(budgetOf({ grpc: {}, failureThreshold: 1 })).toBe(0);
});

test('of several containers the tightest, sidecars among them, init containers that ended not', () => {
  expect(budgetOf({ httpGet: {} }, undefined, { httpGet: {}, periodSeconds: 2 })).toBe(4000);
  const init = (restartPolicy?: string) => ({
    name: 'init',
    livenessProbe: { httpGet: {}, periodSeconds: 3 },
    ...(restartPolicy ? { restartPolicy } : {}),
  });
  expect(freezeBudget(pod({ spec: { initContainers: [init('Always')] } }))).toBe(6000);
  expect(freezeBudget(pod({ spec: { initContainers: [init()] } }))).toBeUndefined();
});
