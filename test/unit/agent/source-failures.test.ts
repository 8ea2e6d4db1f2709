import { Cleanup, until } from '../image/fixtures.ts';
import { gate, uid } from './fakes.ts';
import { atOnce, failing, type Source, startSource } from './source-fixtures.ts';

/** What goes wrong with a source: it runs on, and it is said why. Its restarts are in source-restart.test.ts. */

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function failed(source: Source) {
  await source.resumed();
  return source.keeper.view(uid).error;
}

const shipped = async (source: Source) => {
  await source.set('Shipped');
  await source.reaches('Shipped');
};

describe('a step that fails resumes the pod', () => {
  test('a container does not run here', async () => {
    const source = await startSource(cleanup);
    source.runtime.containers = source.runtime.containers.filter(({ name }) => name !== 'proxy');
    await source.set('Shipped');
    expect(await failed(source)).toEqual({
      step: 'freeze',
      message: 'container proxy of pod shop/web does not run in the runtime of this node',
    });
    expect(source.calls).not.toContain('pause app');
  });

  test.each([
    ['Registry', 1],
    ['Direct', 0],
  ] as const)('shipping, transfer %s: what lies in the registry goes, once the pod runs', async (transfer, times) => {
    const source = await startSource(cleanup, { ports: { ship: () => Promise.reject(new Error('no route')) } });
    await source.set('Shipped', { transfer });
    expect(await failed(source)).toEqual({ step: 'ship', message: 'no route' });
    await until(() => source.calls.filter((call) => call === 'retract').length === times);
    if (times > 0) expect(source.calls.indexOf('retract')).toBeGreaterThan(source.calls.lastIndexOf('resume proxy'));
  });

  test('a pause', async () => {
    const source = await startSource(cleanup);
    source.runtime.instead.set('pause proxy', () => Promise.reject(new Error('cgroup is busy')));
    await source.set('Shipped');
    expect(await failed(source)).toEqual({ step: 'freeze', message: 'cgroup is busy' });
    expect(source.calls).toEqual(expect.arrayContaining(['resume app', 'resume proxy']));
  });

  test('a checkpoint; what CRIU wrote down is quoted', async () => {
    const source = await startSource(cleanup, { ports: { checkpoint: failing('the kubelet answered 500') } });
    source.runtime.criu = [
      '(00.1) pie: 7',
      '(00.2) Error (criu/sk-inet.c:191): Unsupported proto 262  ',
      '(00.3) Warn',
      '(00.4) Error (criu/cr-dump.c:1)',
    ].join('\n');
    await source.set('Shipped');
    expect(await failed(source)).toEqual({
      step: 'checkpoint',
      message: 'container app: the kubelet answered 500; CRIU: Error (criu/sk-inet.c:191): Unsupported proto 262; Error (criu/cr-dump.c:1)',
    });
  });

  test('a checkpoint, and CRIU wrote nothing; an archive that is not there', async () => {
    const silent = await startSource(cleanup, { ports: { checkpoint: failing('no') } });
    await silent.set('Shipped');
    expect(await failed(silent)).toEqual({ step: 'checkpoint', message: 'container app: no' });
    const lost = await startSource(cleanup, { ports: { checkpoint: () => atOnce(Promise.resolve('/nowhere/archive')) } });
    await lost.set('Shipped');
    expect(await failed(lost)).toMatchObject({ message: expect.stringContaining('ENOENT') });
  });

  test('the second checkpoint: the first archive goes too', async () => {
    const source = await startSource(cleanup);
    const { checkpoint } = source.ports;
    source.ports.checkpoint = (id, request, container) =>
      container.name === 'proxy' ? failing('no')() : checkpoint(id, request, container);
    await source.set('Shipped');
    expect(await failed(source)).toEqual({ step: 'checkpoint', message: 'container proxy: no' });
  });

  test('a process that could not be seized at that moment: the pod goes on, and is frozen and checkpointed anew, all of it', async () => {
    const source = await startSource(cleanup);
    const { checkpoint } = source.ports;
    let refusals = 2;
    source.ports.checkpoint = (id, request, container) => {
      if (container.name === 'app' || refusals === 0) return checkpoint(id, request, container);
      refusals--;
      return failing('Unseizable non-zombie 42 found, state D, err 0/-1')();
    };
    const thawed: unknown[] = [];
    source.runtime.instead.set('resume app', async () => {
      const record = await source.written();
      thawed.push({ state: record?.state, archives: record?.archives, files: source.archives() });
      source.runtime.container('app').paused = false;
    });
    await source.set('Shipped');
    await source.reaches('Shipped');
    expect(thawed).toEqual([
      { state: 'Freezing', archives: {}, files: [] },
      { state: 'Freezing', archives: {}, files: [] },
    ]);
    expect(source.calls.filter((call) => /^(pause|checkpoint|resume) .*app/.test(call))).toEqual(
      Array(3).fill(['pause app', 'checkpoint shop/web/app', 'resume app']).flat().slice(0, -1),
    );
    expect(source.runtime.paused).toEqual(['app', 'proxy']);
    expect(source.keeper.view(uid).error).toBeUndefined();
  });

  test('a process that cannot be seized three times', async () => {
    const source = await startSource(cleanup, { ports: { checkpoint: failing('Unseizable non-zombie 42') } });
    await source.set('Shipped');
    expect(await failed(source)).toEqual({ step: 'checkpoint', message: 'container app: Unseizable non-zombie 42' });
    expect(source.calls.filter((call) => call === 'pause app')).toHaveLength(3);
  });

  test('the way to the destination', async () => {
    for (const port of ['ship', 'shipVolumes'] as const) {
      const source = await startSource(cleanup, { ports: { [port]: () => Promise.reject(new Error('no route')) } });
      await source.set('Shipped', { volumes: ['cache'] });
      expect(await failed(source)).toEqual({ step: 'ship', message: 'no route' });
    }
  });
});

describe('what was archived has to be what is frozen', () => {
  const changes: [string, (source: Source) => void, RegExp][] = [
    ['ended', ({ runtime }) => void runtime.containers.splice(0, 1), /container app ended while it was frozen/],
    ['started again', ({ runtime }) => void Object.assign(runtime.container('app'), { pid: 7 }), /container app ended while it was frozen/],
    [
      'was resumed',
      ({ runtime }) => void Object.assign(runtime.container('app'), { paused: false }),
      /container app was resumed by somebody else/,
    ],
  ];

  test.each(changes)('a container %s while it was shipped', async (_what, change, message) => {
    const source = await startSource(cleanup);
    const { ship } = source.ports;
    source.ports.ship = async (...given) => {
      change(source);
      return ship(...given);
    };
    await source.set('Shipped');
    expect(await failed(source)).toEqual({ step: 'ship', message: expect.stringMatching(message) });
  });

  test.each(changes)('a container %s before the hold', async (_what, change, message) => {
    const source = await startSource(cleanup);
    await shipped(source);
    change(source);
    expect(await source.set('Held')).toBe('Running');
    expect(await failed(source)).toEqual({ step: 'lease', message: expect.stringMatching(message) });
  });
});

describe('the runtime goes away', () => {
  test('a pod that is not held goes on before the runtime is back and does not know it any more', async () => {
    const source = await startSource(cleanup);
    await shipped(source);
    source.keeper.runtimeLost();
    expect(await failed(source)).toEqual({
      step: 'freeze',
      message: expect.stringMatching(/runtime of the node stopped, so the pod was resumed/),
    });
    expect(source.archives()).toEqual([]);
  });

  test('a held one stays frozen', async () => {
    const source = await startSource(cleanup);
    await shipped(source);
    await source.set('Held');
    source.keeper.runtimeLost();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(source.keeper.view(uid).state).toBe('Held');
    expect(source.runtime.paused).toEqual(['app', 'proxy']);
  });
});

describe('a resume that fails', () => {
  /** A shipped source of which one container cannot be resumed until it is told so. */
  const stubborn = async () => {
    const source = await startSource(cleanup);
    await shipped(source);
    const runtime = { broken: true };
    source.runtime.instead.set('resume app', () => (runtime.broken ? Promise.reject(new Error('it restarts')) : Promise.resolve()));
    const resumed = source.set('Resumed');
    await until(() => source.calls.includes('resume app'));
    return { source, runtime, resumed };
  };

  test('is tried again until it succeeds, and shown as what it is', async () => {
    const { source, runtime, resumed } = await stubborn();
    await until(() => source.runtime.paused.join() === 'app');
    expect(source.keeper.view(uid).state).toBe('Resuming');
    expect(source.archives()).toHaveLength(2);
    // Who asks again, or asks for something else, changes nothing.
    expect(await source.set('Shipped')).toBe('Resuming');
    expect(await source.set('Held')).toBe('Resuming');
    runtime.broken = false;
    expect(await resumed).toBe('Running');
    await source.resumed();
  });

  test('is not lost when the source is forgotten meanwhile', async () => {
    const { source, runtime, resumed } = await stubborn();
    const forgotten = source.keeper.forget(uid);
    runtime.broken = false;
    await Promise.all([resumed, forgotten]);
    expect(source.runtime.paused).toEqual([]);
    expect(await source.written()).toBeUndefined();
  });

  // forget() waits for the resume, but not whether it came to its end: a stop of the agent ends the wait too, and the record, by
  // which the next process would resume the pod, is removed.
  test('nor when the agent ends while somebody waits to forget it', async () => {
    const { source } = await stubborn();
    const forgotten = source.keeper.forget(uid).catch(() => undefined);
    await source.keeper.stop();
    await forgotten;
    expect((await source.written())?.state).toBe('Resuming');
  });

  test('is taken up by the next process of the agent', async () => {
    const { source, runtime } = await stubborn();
    const again = source.restart();
    runtime.broken = false;
    await (await again).resumed();
  });

  test('to write something down, for a full disk, is no reason to leave the pod frozen', async () => {
    const source = await startSource(cleanup);
    await shipped(source);
    source.records.before = () => Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }));
    await source.set('Resumed');
    expect(source.runtime.paused).toEqual([]);
    expect(source.archives()).toEqual([]);
  });
});

describe('several things at once', () => {
  // Promise.all ends with the first failure; a pause that is still under way comes after the resume, and stays.
  test('a pause that ends after another has failed does not outlive the resume', async () => {
    const source = await startSource(cleanup);
    const slow = gate();
    source.runtime.instead.set('pause app', () => slow.passed);
    source.runtime.instead.set('pause proxy', () => Promise.reject(new Error('cgroup is busy')));
    await source.set('Shipped');
    await until(() => source.calls.includes('pause proxy'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    slow.open();
    await source.reaches('Running');
    await until(() => source.keeper.view(uid).error !== undefined);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(source.runtime.paused).toEqual([]);
  });

  // Nothing aborts the signal of the work when a step of it fails: the other uploads go on, and write the record when they end,
  // also when it was forgotten meanwhile.
  test('an upload that fails stops the others', async () => {
    let stopped = false;
    const both = gate();
    const source = await startSource(cleanup, {
      ports: {
        ship: async (_request, container, _archive, _progress, signal) => {
          if (container === 'app') {
            await both.passed;
            throw new Error('no route');
          }
          both.open();
          return new Promise((_, reject) =>
            signal.addEventListener('abort', () => {
              stopped = true;
              reject(signal.reason);
            }),
          );
        },
      },
    });
    await source.set('Shipped');
    expect(await failed(source)).toMatchObject({ step: 'ship', message: 'no route' });
    expect(stopped).toBe(true);
  });

  test('nobody hears of a hold that is not written down yet', async () => {
    const source = await startSource(cleanup);
    await shipped(source);
    const slow = gate();
    cleanup.add(slow, ({ open }) => open());
    source.records.before = () => slow.passed;
    const held = source.set('Held');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(source.keeper.view(uid).state).toBe('Shipped');
    slow.open();
    expect(await held).toBe('Held');
  });

  // The renewal finds it Shipped still, and is written after the hold: the disk says Shipped, with a lease, of a pod that is held.
  test('a renewal that comes while the hold is written does not undo it on the disk', async () => {
    const source = await startSource(cleanup);
    await shipped(source);
    let renewed: Promise<unknown> | undefined;
    source.records.before = async (_key, { state }) => {
      if (state === 'Held' && !renewed) setImmediate(() => (renewed = source.set('Shipped')));
    };
    expect(await source.set('Held')).toBe('Held');
    await until(() => renewed !== undefined);
    await renewed;
    expect((await source.written())?.state).toBe('Held');
  });
});

// `archives[name]` and `shipped[name]` find what every object inherits: such a container is neither checkpointed nor shipped.
test('a container named as a property of every object is checkpointed like any other', async () => {
  const source = await startSource(cleanup);
  source.runtime.run('constructor');
  await source.set('Shipped', { containers: [{ name: 'constructor', rootfsImageRef: 'x' }] });
  await source.reaches('Shipped');
  expect(source.calls).toEqual(['pause constructor', 'checkpoint shop/web/constructor', 'ship constructor']);
});
