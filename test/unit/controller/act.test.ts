import type { SourceRequest, TargetRequest } from '../../../src/api/agent.ts';
import { actor, type ClusterPorts } from '../../../src/controller/act.ts';
import { Agents } from '../../../src/controller/agents.ts';
import type { Action } from '../../../src/plan/migration/index.ts';
import { deepFreeze, migration, migrationUid, pod } from '../plan/objects.ts';

type Call = [string, ...unknown[]];

const sourceView = { revision: 4, state: 'Held' as const, containers: [] };
const targetView = { revision: 5, state: 'Serving' as const, containers: [] };

/** Agents that write down what they are told instead of sending it. */
class FakeAgents extends Agents {
  readonly #calls: Call[];

  constructor(calls: Call[]) {
    super({ addressOf: () => undefined, deadline: 0 });
    this.#calls = calls;
  }

  override async setSource(...given: Parameters<Agents['setSource']>) {
    this.#calls.push(['setSource', ...given.slice(0, 3)]);
    return sourceView;
  }

  override async setTarget(...given: Parameters<Agents['setTarget']>) {
    this.#calls.push(['setTarget', ...given.slice(0, 3)]);
    return targetView;
  }

  override async forget(...given: Parameters<Agents['forget']>) {
    this.#calls.push(['forget', ...given.slice(0, 3)]);
  }
}

const signal = new AbortController().signal;

/** The one call that an action becomes; every call gets the signal. */
async function callOf(action: Action, subject = migration()): Promise<Call | undefined> {
  const calls: Call[] = [];
  const record =
    (name: string) =>
    async (...given: unknown[]) => {
      expect(given.at(-1)).toBe(signal);
      calls.push([name, ...given.slice(0, -1)]);
    };
  const cluster: ClusterPorts = {
    createPod: record('createPod'),
    deletePod: record('deletePod'),
    patchPod: record('patchPod'),
    claimPod: record('claimPod'),
    patchMigration: record('patchMigration'),
    deleteMigration: record('deleteMigration'),
  };
  await actor(cluster, new FakeAgents(calls))(deepFreeze(subject), deepFreeze(action), signal);
  expect(calls).toHaveLength(1);
  return calls[0];
}

test('the finalizer beside those of others', async () => {
  const subject = migration({ metadata: { finalizers: ['other'] } });
  expect(await callOf({ type: 'addFinalizer' }, subject)).toEqual([
    'patchMigration',
    subject,
    { finalizers: ['other', 'podferry.io/migration'] },
  ]);
  const both = migration({ metadata: { finalizers: ['podferry.io/migration', 'other'] } });
  expect(await callOf({ type: 'removeFinalizer' }, both)).toEqual(['patchMigration', both, { finalizers: ['other'] }]);
  const none = migration();
  delete none.metadata.finalizers;
  expect(await callOf({ type: 'addFinalizer' }, none)).toEqual(['patchMigration', none, { finalizers: ['podferry.io/migration'] }]);
});

test('pods are created and deleted in the namespace of the Migration, those deleted by uid', async () => {
  expect(await callOf({ type: 'createPod', pod: pod() })).toEqual(['createPod', 'shop', pod()]);
  const deletion = { type: 'deletePod', name: 'web', uid: 'u', gracePeriodSeconds: 1 } as const;
  expect(await callOf(deletion)).toEqual(['deletePod', 'shop', deletion]);
  expect(await callOf({ type: 'deleteMigration' })).toEqual(['deleteMigration', migration()]);
});

test('labels that are taken off and put on, as a merge patch', async () => {
  const released = await callOf({
    type: 'releasePod',
    name: 'web',
    uid: 'u',
    resourceVersion: '7',
    labels: ['app', 'podferry.io/role'],
    add: { 'podferry.io/role': 'source' },
  });
  expect(released).toEqual(['patchPod', 'shop', 'web', 'u', { resourceVersion: '7', labels: { app: null, 'podferry.io/role': 'source' } }]);
  const given = await callOf({ type: 'giveBackPod', name: 'web', uid: 'u', labels: { app: 'web' }, remove: ['podferry.io/role'] });
  expect(given).toEqual(['patchPod', 'shop', 'web', 'u', { labels: { app: 'web', 'podferry.io/role': null } }]);
});

test('the pod is claimed in just the version that was looked at, and given free', async () => {
  expect(await callOf({ type: 'claimPod', name: 'web', uid: 'u', resourceVersion: '7' })).toEqual([
    'claimPod',
    'shop',
    'web',
    { uid: 'u', resourceVersion: '7', annotations: { 'podferry.io/claimed-by': `${migration().metadata.name}/${migrationUid}` } },
  ]);
  expect(await callOf({ type: 'unclaimPod', name: 'web', uid: 'u' })).toEqual([
    'patchPod',
    'shop',
    'web',
    'u',
    { annotations: { 'podferry.io/claimed-by': null } },
  ]);
});

test('the request is taken off a pod with its mark', async () => {
  const annotations = { 'podferry.io/migrate-to': null, 'podferry.io/request': null };
  expect(await callOf({ type: 'clearRequest', pod: 'web', uid: 'u' })).toEqual(['patchPod', 'shop', 'web', 'u', { annotations }]);
});

test('agents are told what the planner wants, each on its node, for this Migration', async () => {
  const source = { goal: 'Held' } as SourceRequest;
  const target = { goal: 'Serving' } as TargetRequest;
  expect(await callOf({ type: 'setSource', nodeName: 'node-a', request: source })).toEqual(['setSource', 'node-a', migrationUid, source]);
  expect(await callOf({ type: 'setTarget', nodeName: 'node-b', request: target })).toEqual(['setTarget', 'node-b', migrationUid, target]);
  expect(await callOf({ type: 'forgetSource', nodeName: 'node-a' })).toEqual(['forget', 'sources', 'node-a', migrationUid]);
  expect(await callOf({ type: 'forgetTarget', nodeName: 'node-b' })).toEqual(['forget', 'targets', 'node-b', migrationUid]);
});
