import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { FailedRestore } from '../../../src/agent/runtime.ts';
import { volumesRepository } from '../../../src/agent/target.ts';
import { Cleanup, until } from '../image/fixtures.ts';
import { gate, otherUid, podUid, uid } from './fakes.ts';
import { startTarget, type Target } from './target-fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const patient = new AbortController().signal;

describe('prepared', () => {
  test('it knows the base images whole, and where all of it will be served', async () => {
    const target = await startTarget(cleanup);
    expect(target.keeper.view(uid)).toEqual({ revision: 0, state: 'Unknown', containers: [] });
    expect(await target.set('Prepared')).toBe('Prepared');
    const { repository, containers, error } = target.keeper.view(uid);
    expect(error).toBeUndefined();
    // The right to push and pull lies in it alone.
    expect(repository).toMatch(/^[0-9a-f]{32}$/);
    expect(containers).toEqual(
      ['app', 'proxy'].map((name) => ({
        name,
        rootfsImageRef: `localhost:5001/${repository}/${name}@${target.base.manifest.digest}`,
        checkpointImage: `localhost:5001/${repository}/${name}:restore`,
      })),
    );
    expect(await target.written()).toMatchObject({ state: 'Prepared', token: repository });
  });

  test('what is free on the disk, as of each time it is asked', async () => {
    const target = await startTarget(cleanup);
    await target.set('Prepared');
    const { revision } = target.keeper.view(uid);
    expect(target.keeper.view(uid)).not.toHaveProperty('freeBytes');
    for (const free of [2 ** 40, 0]) {
      target.ports.freeBytes = () => free;
      expect(target.keeper.view(uid)).toMatchObject({ freeBytes: free, revision });
    }
  });

  test('asked again it is the same; another migration has another token', async () => {
    const target = await startTarget(cleanup);
    await target.set('Prepared');
    const token = target.token();
    await target.set('Prepared');
    expect(target.token()).toBe(token);
    await target.keeper.set(otherUid, target.request('Prepared'), patient);
    expect(target.keeper.view(otherUid).repository).not.toBe(token);
    expect(target.keeper.find(token)?.uid).toBe(uid);
    expect(target.keeper.find('')).toBeUndefined();
    expect(target.keeper.find(uid)).toBeUndefined();
  });

  test('base images that are not whole, or not known by digest: every one is named, and asked again it looks again', async () => {
    const target = await startTarget(cleanup);
    target.runtime.missing = ['sha256:1', 'sha256:2'];
    const containers = [
      ...target.request('Prepared').containers,
      { name: 'third', baseImage: 'nginx:v1' },
      { name: 'fourth', baseImage: '' },
    ];
    await target.set('Prepared', { containers });
    const { error, repository = '' } = target.keeper.view(uid);
    expect(error?.message.split(/; (?=the base)/)).toEqual([
      expect.stringMatching(/base image registry\.example\/app@sha256:\w+ of container app is not whole.*2 parts missing/),
      expect.stringMatching(/of container proxy is not whole/),
      'the base image of container third is known only as nginx:v1, not by a digest',
      'the base image of container fourth is known only as nothing, not by a digest',
    ]);
    target.runtime.missing = [];
    await target.set('Prepared');
    expect(target.keeper.view(uid).error).toBeUndefined();
    expect(target.keeper.find(repository)).toBeUndefined();
    expect(target.keeper.find(target.token())?.uid).toBe(uid);
  });
});

describe('received', () => {
  test('complete when the last part is here, the volumes among them', async () => {
    const target = await startTarget(cleanup);
    await target.set('Prepared', { volumes: ['cache'] });
    for (const [part, digest] of [
      ['app', 'sha256:app'],
      ['nobody', 'sha256:x'],
      ['proxy', 'sha256:proxy'],
    ] as const) {
      const { revision } = target.keeper.view(uid);
      await target.keeper.received(uid, part, digest);
      // Who waits for a change is not woken: there is nothing to be done about one part.
      expect(target.keeper.view(uid)).toMatchObject({ state: 'Prepared', revision });
    }
    expect((await target.written())?.containers).toMatchObject({ app: { digest: 'sha256:app' }, proxy: { digest: 'sha256:proxy' } });
    await target.keeper.received(uid, volumesRepository, 'sha256:volumes');
    expect(target.keeper.view(uid)).toMatchObject({
      state: 'Complete',
      containers: [{ digest: 'sha256:app' }, { digest: 'sha256:proxy' }],
    });
    expect(await target.written()).toMatchObject({ state: 'Complete', volumes: 'sha256:volumes' });
  });

  test('what comes afterwards, or for nobody, changes nothing', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    await target.keeper.received(uid, 'app', 'sha256:another');
    expect(target.keeper.view(uid).containers[0]?.digest).toBe('sha256:app');
    await target.keeper.received(otherUid, 'app', 'sha256:app');
    expect(target.keeper.knows(otherUid)).toBe(false);
  });

  test('fetched from a registry when asked to, once, and shown as long as it lasts', async () => {
    const { passed, open } = gate();
    const target = await startTarget(cleanup, { ports: { fetch: () => passed } });
    expect(await target.set('Complete')).toBe('Unknown');
    await target.set('Prepared');
    expect(await target.set('Complete')).toBe('Fetching');
    expect((await target.written())?.state).toBe('Prepared');
    open();
    await until(() => target.keeper.view(uid).state === 'Prepared');
    const failing = await startTarget(cleanup, { ports: { fetch: () => Promise.reject(new Error('401')) } });
    await failing.set('Prepared');
    await failing.set('Complete');
    await until(() => failing.keeper.view(uid).error !== undefined);
    expect(failing.keeper.view(uid).error?.message).toBe('fetching the checkpoint from the registry: 401');
  });
});

describe('served, revoked, committed', () => {
  test('served only when complete', async () => {
    const target = await startTarget(cleanup);
    expect(await target.set('Serving')).toBe('Unknown');
    await target.set('Prepared');
    expect(await target.set('Serving', { pod: 'web-zzzzz' })).toBe('Prepared');
    await target.serve();
    expect(target.keeper.view(uid).state).toBe('Serving');
    expect(await target.written()).toMatchObject({ state: 'Serving', servedAt: '2026-11-24T12:00:00.000Z', request: { pod: 'web-zzzzz' } });
    expect(target.keeper.awaited()).toEqual([{ namespace: 'shop', pod: 'web-zzzzz' }]);
  });

  test('served, the runtime has the archives ahead of the pull, once; over, it is told to stop before their images go', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    await target.set('Serving');
    const { runtime } = target;
    const ahead = (name: string) => expect.stringMatching(`^localhost:5001/${target.token()}/${name}:ahead-[0-9a-f]{32}$`);
    await until(() => runtime.pulls.length > 0);
    expect(runtime.pulls).toEqual(['app', 'proxy'].map(ahead));
    await target.set('Committed');
    expect(runtime.calls.some((call) => call.startsWith('remove images sha256:'))).toBe(true);
    await target.keeper.forget(uid);
  });

  test('revoked is not served again, nor complete', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    expect(await target.set('Revoked')).toBe('Revoked');
    for (const goal of ['Prepared', 'Complete', 'Serving'] as const) expect(await target.set(goal)).toBe('Revoked');
    await target.keeper.received(uid, 'app', 'sha256:app');
    expect((await target.written())?.state).toBe('Revoked');
    expect(target.keeper.awaited()).toEqual([]);
  });

  test('committed: what was received goes; there is no way back', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    expect(await target.set('Committed')).toBe('Committed');
    expect(target.calls).toEqual(['remove the content']);
    for (const goal of ['Prepared', 'Complete', 'Serving', 'Revoked'] as const) expect(await target.set(goal)).toBe('Committed');
    expect(await target.set('Committed')).toBe('Committed');
    expect(await target.written()).toMatchObject({ state: 'Committed', token: target.token() });
  });

  test('what was received stays until the commit is on the disk, however often it is asked for', async () => {
    const directory = cleanup.directory();
    const [records, aside] = [join(directory, 'records'), join(directory, 'aside')];
    const target = await startTarget(cleanup, { directory });
    await target.serve();
    await rename(records, aside);
    for (const _ of ['once', 'again']) await expect(target.set('Committed')).rejects.toThrow('ENOENT');
    await rename(aside, records);
    expect(target.calls).toEqual([]);
    expect((await target.restart()).keeper.view(uid).state).toBe('Serving');
    expect(await target.set('Committed')).toBe('Committed');
    expect(target.calls).toEqual(['remove the content']);
  });

  // Committed is written first, and asked again it is found committed: what could not be removed, or was not for a crash, stays
  // until the target pod leaves the node. It is memory, and holds secrets.
  test('content that could not be removed is removed when it is asked for again', async () => {
    let tries = 0;
    const target = await startTarget(cleanup, {
      ports: { removeContent: () => (++tries === 1 ? Promise.reject(new Error('busy')) : Promise.resolve()) },
    });
    await target.serve();
    await target.set('Committed').catch(() => undefined);
    await target.set('Committed');
    expect(tries).toBe(2);
  });

  test('another process knows all of it', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    await target.keeper.started(target.start());
    const after = await target.restart();
    const { revision: _before, ...view } = target.keeper.view(uid);
    expect(after.keeper.view(uid)).toMatchObject(view);
    expect(after.keeper.find(target.token())?.uid).toBe(uid);
    expect(after.keeper.knows(uid)).toBe(true);
  });
});

describe('a container starts', () => {
  const startedIn = async (...starts: Parameters<Target['start']>) => {
    const target = await startTarget(cleanup);
    await target.serve();
    await target.keeper.started(target.start(...starts));
    return target.keeper.view(uid).containers.map(({ startedAt }) => startedAt);
  };

  test('not a pod of that name that its owner made from its own image', async () => {
    expect(await startedIn({ image: 'registry.example/shop/app:v1' })).toEqual([undefined, undefined]);
    expect(await startedIn({ image: `localhost:5001/${'0'.repeat(32)}/app:restore` })).toEqual([undefined, undefined]);
  });

  test('after it was served: its time, and its pod, are remembered', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    await target.keeper.started(target.start());
    expect(target.keeper.view(uid).containers).toMatchObject([{ name: 'app', startedAt: '2026-11-24T12:00:01.000Z' }, { name: 'proxy' }]);
    expect(await target.written()).toMatchObject({ podUid, containers: { app: { startedAt: '2026-11-24T12:00:01.000Z' } } });
    // A restart is not the restore.
    await target.keeper.started(target.start({ at: '2026-11-24T12:05:00.000Z' }));
    expect(target.keeper.view(uid).containers[0]?.startedAt).toBe('2026-11-24T12:00:01.000Z');
  });

  test('one before that belongs to an earlier pod of that name; others are no concern', async () => {
    expect(await startedIn({ at: '2026-11-24T11:59:59.999Z' })).toEqual([undefined, undefined]);
    expect(await startedIn({ namespace: 'other' })).toEqual([undefined, undefined]);
    expect(await startedIn({ pod: 'other' })).toEqual([undefined, undefined]);
    expect(await startedIn({ container: 'other' })).toEqual([undefined, undefined]);
    expect(await startedIn({ at: '2026-11-24T12:00:00.000Z' })).toEqual(['2026-11-24T12:00:00.000Z', undefined]);
  });

  test('after the commit, or of a target without a name yet, none counts', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    await target.set('Committed');
    await target.keeper.started(target.start());
    expect(target.keeper.view(uid).containers[0]?.startedAt).toBeUndefined();
    const prepared = await startTarget(cleanup);
    await prepared.set('Prepared');
    await prepared.keeper.started(prepared.start());
    expect(prepared.keeper.view(uid).containers[0]?.startedAt).toBeUndefined();
  });

  // A return is prepared with the name of the pod known. A pod of that name that starts before it is served counts as restored, and
  // the tag leads to the base image when the real one comes: it would start with nothing.
  test('before it was ever served, though the name is known', async () => {
    const target = await startTarget(cleanup);
    await target.set('Prepared', { pod: 'web-zzzzz' });
    await target.keeper.started(target.start({ at: '2026-11-24T11:00:00.000Z' }));
    expect(target.keeper.view(uid).containers[0]?.startedAt).toBeUndefined();
  });
});

describe('the volumes are in place before a checkpoint is handed out', () => {
  const withVolumes = async (fillVolumes?: () => Promise<void>, directory = cleanup.directory()) => {
    const target = await startTarget(cleanup, { directory, ...(fillVolumes ? { ports: { fillVolumes } } : {}) });
    await target.set('Prepared', { volumes: ['cache'] });
    await target.keeper.received(uid, 'app', 'sha256:app');
    await target.keeper.received(uid, 'proxy', 'sha256:proxy');
    await target.keeper.received(uid, volumesRepository, 'sha256:volumes');
    await target.set('Serving', { pod: 'web-zzzzz', volumes: ['cache'] });
    return target;
  };

  test('once a pod, however many ask', async () => {
    const target = await withVolumes();
    await Promise.all([target.keeper.ready(uid, patient), target.keeper.ready(uid, patient)]);
    await target.keeper.ready(uid, patient);
    expect(target.calls).toEqual([`fill ${podUid} from sha256:volumes`]);
  });

  test('only for the pod that asked first: its processes may live on when its object is gone', async () => {
    const target = await withVolumes();
    expect(await target.keeper.ready(uid, patient)).toBe(true);
    target.runtime.sandbox = otherUid;
    expect(await target.keeper.ready(uid, patient)).toBe(false);
    expect(await (await target.restart()).keeper.ready(uid, patient)).toBe(false);
    expect(target.calls).toEqual([`fill ${podUid} from sha256:volumes`]);
  });

  test('not before it is on the disk for whom', async () => {
    const directory = cleanup.directory();
    const target = await startTarget(cleanup, { directory });
    await target.serve();
    const [records, aside] = [join(directory, 'records'), join(directory, 'aside')];
    await rename(records, aside);
    const both = await Promise.allSettled([target.keeper.ready(uid, patient), target.keeper.ready(uid, patient)]);
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await rename(aside, records);
    // Nobody was served, so that it may be another one.
    target.runtime.sandbox = otherUid;
    expect(await target.keeper.ready(uid, patient)).toBe(true);
    expect((await target.written())?.servedTo).toBe(otherUid);
  });

  test('without volumes there is nothing to do; without a sandbox it cannot be done', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    expect(await target.keeper.ready(uid, patient)).toBe(true);
    expect(target.calls).toEqual([]);
    const alone = await withVolumes();
    alone.runtime.sandbox = undefined;
    expect(await alone.keeper.ready(uid, patient)).toBe(false);
  });

  test('what failed is tried again by the next one', async () => {
    let tries = 0;
    const target = await withVolumes(() => (++tries === 1 ? Promise.reject(new Error('no space')) : Promise.resolve()));
    await expect(target.keeper.ready(uid, patient)).rejects.toThrow('no space');
    await target.keeper.ready(uid, patient);
    expect(tries).toBe(2);
  });

  test('not before it is on the disk that they are: a process that takes over would fill them over what was written since', async () => {
    const directory = cleanup.directory();
    const [records, aside] = [join(directory, 'records'), join(directory, 'aside')];
    let tries = 0;
    const target = await withVolumes(async () => {
      if (++tries === 1) await rename(records, aside);
    }, directory);
    await expect(target.keeper.ready(uid, patient)).rejects.toThrow('ENOENT');
    await rename(aside, records);
    expect((await target.written())?.filled).toBeUndefined();
    expect(await target.keeper.ready(uid, patient)).toBe(true);
    expect(tries).toBe(2);
    expect((await target.written())?.filled).toBe(podUid);
  });
});

describe('what nobody needs any more', () => {
  test('forgotten: content, record and token go', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    const token = target.token();
    const next = target.keeper.wait(uid, target.keeper.view(uid).revision, 5000, patient);
    await target.keeper.forget(uid);
    expect(target.calls).toEqual(['remove the content']);
    expect((await next).state).toBe('Unknown');
    expect(target.keeper.find(token)).toBeUndefined();
    expect(await target.written()).toBeUndefined();
    await target.keeper.forget(uid);
  });

  test('what lies in a registry for a target that never fetched it goes too', async () => {
    const target = await startTarget(cleanup);
    await target.set('Prepared', { transfer: 'Registry' });
    const token = target.token();
    await target.keeper.forget(uid);
    expect(target.calls).toContain(`retract ${token}`);
    const fetched = await startTarget(cleanup);
    await fetched.set('Prepared', { transfer: 'Registry' });
    await fetched.set('Committed', { transfer: 'Registry' });
    await fetched.keeper.forget(uid);
    expect(fetched.calls.filter((call) => call.startsWith('retract'))).toEqual([]);
  });

  test('a committed target is forgotten when its pod has left the node, and not before', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    await target.keeper.started(target.start());
    await target.keeper.sweep(async () => false);
    expect(target.keeper.view(uid).state).toBe('Serving');
    await target.set('Committed');
    const asked: string[] = [];
    await target.keeper.sweep(async (pod) => asked.push(pod) > 0);
    expect(asked).toEqual([podUid]);
    expect(target.keeper.view(uid).state).toBe('Committed');
    await target.keeper.sweep(async () => false);
    expect(target.keeper.view(uid).state).toBe('Unknown');
  });
});

describe('a restore that failed', () => {
  const failure = (target: Target, change: Partial<FailedRestore> = {}): FailedRestore => {
    const { at: _at, ...container } = target.start();
    const log =
      "(00.1) pie: 1: Warn  (x.c:1): hm\n(00.2) Error (criu/files-reg.c:1): Can't open file x on restore\n(00.3) Error (criu/cr-restore.c:1): Restoring FAILED.\n";
    return { ...container, log, ...change };
  };

  test('shows with the cause that CRIU wrote down', async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    const { revision } = target.keeper.view(uid);
    target.keeper.restoreFailed(failure(target));
    const { containers, revision: next } = target.keeper.view(uid);
    expect(containers.map(({ restoreFailure }) => restoreFailure)).toEqual([
      "Error (criu/files-reg.c:1): Can't open file x on restore",
      undefined,
    ]);
    expect(next).toBeGreaterThan(revision);
  });

  test("is not another pod's, and not one of which CRIU says nothing", async () => {
    const target = await startTarget(cleanup);
    await target.serve();
    for (const change of [{ namespace: 'other' }, { pod: 'other' }, { image: 'registry.example/web:v1' }, { log: 'all is well' }]) {
      target.keeper.restoreFailed(failure(target, change));
    }
    expect(target.keeper.view(uid).containers.some(({ restoreFailure }) => restoreFailure)).toBe(false);
  });
});

test('what was damaged after the first look at it is not handed out either', async () => {
  let damaged = false;
  const verifyContent = () => (damaged ? Promise.reject(new Error('sha256:1 is damaged on disk')) : Promise.resolve());
  const target = await startTarget(cleanup, { ports: { verifyContent } });
  await target.serve();
  expect(await target.keeper.ready(uid, patient)).toBe(true);
  damaged = true;
  await expect(target.keeper.ready(uid, patient)).rejects.toThrow('damaged on disk');
  expect(target.keeper.view(uid).error?.message).toContain('what was received is damaged: sha256:1');
});
