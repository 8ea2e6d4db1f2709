import { readdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Records } from '../../../src/agent/records.ts';
import { type Forgotten, SourceKeeper, type SourcePorts, type SourceRecord } from '../../../src/agent/source.ts';
import type { Checkpointing } from '../../../src/agent/source-record.ts';
import type { SourceGoal, SourceRequest, SourceState } from '../../../src/api/agent.ts';
import { type Cleanup, until } from '../image/fixtures.ts';
import { FakeRuntime, log, podUid, uid } from './fakes.ts';

/** A source's keeper with a runtime, a kubelet and a destination that are none. */

export function sourceRequest(goal: SourceGoal, change: Partial<SourceRequest> = {}): SourceRequest {
  return {
    goal,
    namespace: 'shop',
    pod: 'web',
    podUid,
    leaseMilliseconds: 60_000,
    transfer: 'Direct',
    containers: [
      { name: 'app', rootfsImageRef: 'localhost:5001/token/app@sha256:1' },
      { name: 'proxy', rootfsImageRef: 'localhost:5001/token/proxy@sha256:2' },
    ],
    volumes: [],
    keepVolumes: false,
    destination: { address: '10.0.0.2:7443', repository: 'token' },
    ...change,
  };
}

/** Writes take as long as they are told to, or fail. */
export class TestRecords extends Records<SourceRecord> {
  before: (key: string, value: SourceRecord) => Promise<void> = async () => undefined;

  override async write(key: string, value: SourceRecord): Promise<void> {
    const then = structuredClone(value);
    await this.before(key, then);
    await super.write(key, then);
  }
}

export interface Source {
  keeper: SourceKeeper;
  directory: string;
  records: TestRecords;
  runtime: FakeRuntime;
  ports: SourcePorts;
  /** What the kubelet and the destination were asked, in order, and what the runtime was. */
  calls: string[];
  /** Paths of the archives that are there. */
  archives(): string[];
  /** What is written down. */
  written(): Promise<SourceRecord | undefined>;
  set(goal: SourceGoal, change?: Partial<SourceRequest>): Promise<SourceState>;
  /** The view says so, and it is written down. */
  reaches(state: SourceState): Promise<void>;
  /** The process ends while it freezes; nothing is archived or shipped yet. */
  endsFreezing(): Promise<void>;
  /** The pod runs again, and all that comes with it is done. */
  resumed(): Promise<void>;
  /** Another process on the same directories; the one before it is stopped. @param boot the node was started again too */
  restart(boot?: string): Promise<Source>;
}

/** A checkpoint that is there when it is whole, as the kubelet's. */
export function atOnce(archive: Promise<string>): Checkpointing {
  return { archive, whole: archive.then(() => undefined) };
}

/** A checkpoint that fails. */
export function failing(message: string): () => Checkpointing {
  return () => atOnce(Promise.reject(new Error(message)));
}

export async function startSource(
  cleanup: Cleanup,
  given: { directory?: string; runtime?: FakeRuntime; ports?: Partial<SourcePorts> } = {},
): Promise<Source> {
  const directory = given.directory ?? cleanup.directory();
  const runtime = given.runtime ?? new FakeRuntime().run('app', 'proxy', 'not-ours');
  const { calls } = runtime;
  const ports: SourcePorts = {
    runtime,
    way: 'runtime',
    freeBytes: () => undefined,
    checkpoint(_uid, { namespace, pod }, { name }) {
      calls.push(`checkpoint ${namespace}/${pod}/${name}`);
      const path = join(directory, `${name}.archive`);
      writeFileSync(path, `memory of ${name}`);
      return atOnce(Promise.resolve(path));
    },
    async ship(_request, container, _archive, { progress }) {
      calls.push(`ship ${container}`);
      progress(7);
      return { digest: `sha256:${container}`, bytes: 42 };
    },
    async shipVolumes() {
      calls.push('ship the volumes');
      return { digest: 'sha256:volumes', bytes: 9 };
    },
    async removeVolumes() {
      calls.push('remove the volumes');
    },
    async retract() {
      calls.push('retract');
    },
    removeCheckpoints: async () => undefined,
    boot: 'this boot',
    now: () => Date.now(),
    ...given.ports,
  };
  const records = new TestRecords(join(directory, 'records'));
  const keeper = cleanup.add(new SourceKeeper(ports, records, new Records<Forgotten>(join(directory, 'forgotten')), log), (it) =>
    it.stop(),
  );
  await keeper.start();
  // Not through Records: that clears up after a process that ended.
  const written = async () => {
    const text = await readFile(join(directory, 'records', `${uid}.json`), 'utf8').catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as SourceRecord);
  };
  return {
    keeper,
    directory,
    records,
    runtime,
    ports,
    calls,
    archives: () => readdirSync(directory).filter((name) => name.endsWith('.archive')),
    written,
    set: async (goal, change) => (await keeper.set(uid, sourceRequest(goal, change))).state,
    reaches: (state) => until(async () => keeper.view(uid).state === state && (await written())?.state === state),
    resumed: () =>
      until(async () => {
        const record = await written();
        return record?.state === 'Running' && Object.keys(record.archives).length === 0 && runtime.paused.length === 0;
      }),
    endsFreezing: async () => {
      await keeper.stop();
      const record = await written();
      if (!record) throw new Error('nothing was written');
      await records.write(uid, { ...record, state: 'Freezing', archives: {}, shipped: {} });
    },
    restart: async (boot = ports.boot) => {
      await keeper.stop();
      return startSource(cleanup, { directory, runtime, ports: { ...ports, boot } });
    },
  };
}
