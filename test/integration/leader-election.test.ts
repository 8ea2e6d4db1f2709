import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { LeaderElection } from '../../src/kube/leader-election.ts';
import { leases } from '../../src/kube/resources.ts';
import { type ApiServer, eventually, startApiServer } from './harness.ts';

let server: ApiServer;

beforeAll(async () => {
  server = await startApiServer();
});

afterAll(async () => {
  await server?.stop();
});

const times = { leaseDuration: 3000, renewDeadline: 2000, retryPeriod: 300 };

/** Contenders that note who leads when; the terms of two must never overlap. */
async function contenders(count: number, namespace: string) {
  const terms: { identity: string; from: number; to: number | undefined }[] = [];
  const all = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const identity = `contender-${index}`;
      const client = await server.clientFor(identity, ['system:masters']);
      const election = new LeaderElection(client, { namespace, name: 'podferry', identity, ...times });
      const stop = new AbortController();
      const done = election.run(async (signal) => {
        const term: (typeof terms)[number] = { identity, from: performance.now(), to: undefined };
        terms.push(term);
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
        term.to = performance.now();
      }, stop.signal);
      return { identity, client, election, stop, done };
    }),
  );
  const leader = () => {
    const leaders = all.filter(({ election }) => election.isLeader());
    expect(leaders).toHaveLength(1);
    return leaders[0] as (typeof all)[number];
  };
  return { all, terms, leader };
}

function overlaps(terms: { identity: string; from: number; to: number | undefined }[]) {
  return terms.flatMap((one) =>
    terms.filter((other) => other !== one && one.from <= other.from && (one.to ?? Number.POSITIVE_INFINITY) > other.from),
  );
}

test('one of three leads; the lease is given back on a stop and taken over at once', async () => {
  const namespace = await server.createNamespace('election');
  const { all, terms, leader } = await contenders(3, namespace);
  const first = await eventually(leader);
  expect(first.election.leaderSignal.aborted).toBe(false);
  await sleep(1000);
  expect(all.filter(({ election }) => election.isLeader())).toEqual([first]);
  expect((await server.client.get(leases, { namespace, name: 'podferry' })).spec).toMatchObject({
    holderIdentity: first.identity,
    leaseTransitions: 0,
  });

  const begun = performance.now();
  first.stop.abort();
  await first.done;
  expect(first.election.isLeader()).toBe(false);
  expect(first.election.leaderSignal.aborted).toBe(true);
  const second = await eventually(leader);
  expect(second).not.toBe(first);
  // Sooner than the lease would have run out.
  expect(performance.now() - begun).toBeLessThan(1500);
  expect((await server.client.get(leases, { namespace, name: 'podferry' })).spec).toMatchObject({
    holderIdentity: second.identity,
    leaseTransitions: 1,
  });

  for (const { stop } of all) stop.abort();
  await Promise.all(all.map(({ done }) => done));
  expect((await server.client.get(leases, { namespace, name: 'podferry' })).spec?.holderIdentity).toBe('');
  expect(overlaps(terms)).toEqual([]);
}, 60_000);

test('a leader that is cut off has stopped before another leads', async () => {
  const namespace = await server.createNamespace('cut-off');
  const { all, terms, leader } = await contenders(3, namespace);
  const first = await eventually(leader);
  // Like a kill: from now on none of its calls arrives, and nothing is given back.
  await first.client.close();
  const cut = first.client as unknown as { request: () => Promise<never> };
  cut.request = async () => Promise.reject(new Error('cut off'));
  const second = await eventually(() => {
    const now = leader();
    expect(now).not.toBe(first);
    return now;
  }, 15_000);
  expect(second.election.holder).toBe(second.identity);
  const term = terms.find(({ identity }) => identity === first.identity);
  expect(term?.to).toBeDefined();
  expect(overlaps(terms)).toEqual([]);
  // The gap is the margin between renew deadline and lease duration.
  expect((terms[1]?.from ?? 0) - (term?.to ?? 0)).toBeGreaterThan(500);
  for (const { stop } of all) stop.abort();
  await Promise.all(all.map(({ done }) => done));
}, 60_000);

test('an API server that stands still ends every term; afterwards there is one leader again', async () => {
  const namespace = await server.createNamespace('still');
  const { all, terms, leader } = await contenders(3, namespace);
  const first = await eventually(leader);
  await server.pause();
  await sleep(2500);
  expect(first.election.isLeader()).toBe(false);
  expect(first.election.leaderSignal.aborted).toBe(true);
  server.resume();
  await eventually(leader, 15_000);
  for (const { stop } of all) stop.abort();
  await Promise.all(all.map(({ done }) => done));
  expect(overlaps(terms)).toEqual([]);
}, 60_000);

test('a restart of the API server within the renew deadline does not end a term', async () => {
  const namespace = await server.createNamespace('restart');
  const client = await server.clientFor('steady', ['system:masters']);
  const election = new LeaderElection(client, { namespace, name: 'podferry', identity: 'steady' });
  const stop = new AbortController();
  const done = election.run(
    (signal) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
    stop.signal,
  );
  await eventually(() => expect(election.isLeader()).toBe(true));
  const term = election.leaderSignal;
  const transitions = (await server.client.get(leases, { namespace, name: 'podferry' })).spec?.leaseTransitions;
  await server.restart();
  await sleep(2500);
  expect(election.isLeader()).toBe(true);
  expect(term.aborted).toBe(false);
  expect((await server.client.get(leases, { namespace, name: 'podferry' })).spec?.leaseTransitions).toBe(transitions);
  stop.abort();
  await done;
}, 60_000);

test('times in the lease do not matter: a holder whose clock is an hour behind keeps it while it renews', async () => {
  const namespace = await server.createNamespace('skew');
  const past = () => new Date(Date.now() - 3600_000).toISOString().replace('Z', '000Z');
  const spec = () => ({
    holderIdentity: 'slow-clock',
    leaseDurationSeconds: 1,
    acquireTime: past(),
    renewTime: past(),
    leaseTransitions: 4,
  });
  await server.client.create(leases, { metadata: { name: 'podferry', namespace }, spec: spec() });
  const { all } = await contenders(1, namespace);
  for (let renewal = 0; renewal < 5; renewal++) {
    await sleep(1000);
    await server.client.patch(leases, { name: 'podferry', namespace }, { type: 'merge', body: { spec: spec() } });
    expect(all[0]?.election.isLeader()).toBe(false);
  }
  await eventually(() => expect(all[0]?.election.isLeader()).toBe(true), 10_000);
  expect((await server.client.get(leases, { namespace, name: 'podferry' })).spec?.leaseTransitions).toBe(5);
  all[0]?.stop.abort();
  await all[0]?.done;
}, 60_000);
