import type { Pod } from '../../src/api/pod.ts';
import { ask, type Counted, counted, counterSpec, expectSameMemory } from './support/counter.ts';
import { kubectl } from './support/lab.ts';
import { readyMessage, useNamespace } from './support/space.ts';
import { until } from './support/until.ts';

const space = useNamespace('test-bare-pod');

describe('a bare pod that is annotated', () => {
  let before: Counted;
  let after: Counted;
  let source: Pod;
  let target: Pod;
  let elapsed: number;

  beforeAll(async () => {
    await space.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'words' }, data: { GREETING: 'hello' } });
    await space.create({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'counter' },
      spec: { selector: { app: 'counter' }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    const spec = await counterSpec('node-a', { env: { MB: '8' }, envFrom: [{ configMapRef: { name: 'words' } }] });
    await space.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'counter', labels: { app: 'counter', tier: 'test' }, annotations: { 'example.org/note': 'kept' } },
      spec,
    });
    source = await space.ready('counter');
    before = await counted(source, 25);
    const began = performance.now();
    const migration = await space.annotate('counter', 'node-b');
    await space.succeeded(migration);
    target = await space.ready('counter');
    after = await ask(target);
    elapsed = (performance.now() - began) / 1000;
  });

  it('runs on the other node with its memory, its count going on', () => {
    expect(source.spec.nodeName).toBe('node-a');
    expect(target.spec.nodeName).toBe('node-b');
    expect(target.metadata.uid).not.toBe(source.metadata.uid);
    expectSameMemory(before, after, elapsed);
  });

  it('keeps labels, annotations and environment; the request is gone', () => {
    expect(target.metadata.labels).toEqual({ app: 'counter', tier: 'test' });
    expect(target.metadata.annotations).toMatchObject({ 'example.org/note': 'kept' });
    expect(target.metadata.annotations).not.toHaveProperty(['podferry.io/migrate-to']);
    expect(after.greeting).toBe('hello');
  });

  it('has a ServiceAccount token of its own', () => {
    expect(after.token).not.toBe(before.token);
    expect(after.token).not.toBe(0);
  });

  it('goes on with its log', async () => {
    const lines = await until('the log goes past the move', async () => {
      const numbers = (await kubectl('-n', space.name, 'logs', 'counter')).trim().split('\n').map(Number);
      return (numbers.at(-1) ?? 0) > after.count ? numbers : undefined;
    });
    // From before the move and after it, without a gap and nothing twice.
    expect(lines).toContain(10);
    expect(lines).toEqual(lines.map((_, index) => (lines[0] ?? 0) + index * 10));
  });

  it('is what the Service leads to', async () => {
    const slice = await until('the endpoint is the target', async () => {
      const text = await kubectl(
        '-n',
        space.name,
        'get',
        'endpointslices',
        '-l',
        'kubernetes.io/service-name=counter',
        '-o',
        'jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[*]}',
      );
      return text.trim() === target.status?.podIP ? text : undefined;
    });
    expect(slice).toBe(target.status?.podIP);
  });

  it('says in the Migration what happened', async () => {
    const [migration] = await space.migrations();
    const { status } = migration ?? {};
    expect(status).toMatchObject({
      phase: 'Succeeded',
      source: { name: 'counter', uid: source.metadata.uid, nodeName: 'node-a' },
      target: { name: 'counter', uid: target.metadata.uid, nodeName: 'node-b' },
    });
    expect(status?.conditions).toEqual([expect.objectContaining({ type: 'Ready', status: 'True', reason: 'Succeeded' })]);
    expect(status?.downtimeMilliseconds).toBeGreaterThan(100);
    const ahead = status?.containers?.flatMap(({ warmBytes = [] }) => warmBytes) ?? [];
    expect(ahead.reduce((sum, bytes) => sum + bytes, status?.bytesSent ?? 0)).toBeGreaterThan(8 << 20);
    expect(Object.keys(status?.steps ?? {}).sort()).toEqual(
      ['accepted', 'checkpointed', 'committed', 'created', 'finished', 'frozen', 'held', 'prepared', 'restored', 'shipped'].sort(),
    );
    expect(await space.events('Migration', migration?.metadata.name ?? '')).toEqual(
      expect.arrayContaining([expect.stringMatching(/^Accepted /), expect.stringMatching(/^Succeeded /)]),
    );
    expect(await space.events('Pod', 'counter')).toEqual(
      expect.arrayContaining([expect.stringMatching(/^Migrating .*node-b/), expect.stringMatching(/^Migrated .*node-b/)]),
    );
    const table = await kubectl('-n', space.name, 'get', 'mig');
    expect(table).toMatch(/NAME +POD +FROM +TO +PHASE +DOWNTIME \(MS\) +AGE/);
    expect(table).toMatch(/counter +node-a +node-b +Succeeded +\d+/);
  });

  it('moves back', async () => {
    const start = performance.now();
    const now = await ask(await space.ready('counter'));
    await space.succeeded(await space.annotate('counter', 'node-a'));
    const back = await space.ready('counter');
    expect(back.spec.nodeName).toBe('node-a');
    expectSameMemory(now, await ask(back), (performance.now() - start) / 1000);
  });

  it('starts afresh from the base image after a crash, not from old memory', async () => {
    const pod = await space.ready('counter');
    const last = await ask(pod);
    await ask(pod, 8080, '/crash').catch(() => undefined);
    const fresh = await until('the container runs again', async () => {
      const answer = await ask(await space.ready('counter'));
      return answer.birth === last.birth ? undefined : answer;
    });
    expect(fresh.count).toBeLessThan(last.count);
    expect((await space.pod('counter')).status?.containerStatuses?.[0]?.restartCount).toBe(1);
  });
});

it('moves a pod where the scheduler finds room when no node is named', async () => {
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'anywhere' }, spec: await counterSpec('node-a') });
  const before = await counted(await space.ready('anywhere'));
  const start = performance.now();
  const migration = await space.succeeded(await space.annotate('anywhere', 'auto'));
  const pod = await space.ready('anywhere');
  expect(pod.spec.nodeName).toBe('node-b');
  expectSameMemory(before, await ask(pod), (performance.now() - start) / 1000);
  expect(readyMessage(migration)).toContain('node-b');
});
