import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Records } from '../../../src/agent/records.ts';
import type { ContainerStart, StoredContent } from '../../../src/agent/runtime.ts';
import { TargetKeeper, type TargetPorts, type TargetRecord } from '../../../src/agent/target.ts';
import type { TargetGoal, TargetRequest, TargetState } from '../../../src/api/agent.ts';
import { BlobStore } from '../../../src/image/blob-store.ts';
import { mediaTypes } from '../../../src/image/media-types.ts';
import type { Cleanup } from '../image/fixtures.ts';
import { FakeRuntime, log, podUid, uid } from './fakes.ts';

/** A target's keeper with a runtime that has one base image, of two documents. */

export const now = Date.parse('2026-11-24T12:00:00.000Z');

export interface Target {
  keeper: TargetKeeper;
  runtime: FakeRuntime;
  ports: TargetPorts;
  store: BlobStore;
  /** The base image: its manifest, and its one layer. */
  base: { manifest: StoredContent; layer: StoredContent };
  calls: string[];
  request(goal: TargetGoal, change?: Partial<TargetRequest>): TargetRequest;
  set(goal: TargetGoal, change?: Partial<TargetRequest>): Promise<TargetState>;
  /** Goes the way until it serves the checkpoints of these containers under these digests. */
  serve(digests?: Record<string, string>): Promise<void>;
  token(): string;
  /** The target's container starts, restored from what is served under the token. */
  start(change?: Partial<ContainerStart>): ContainerStart;
  written(): Promise<TargetRecord | undefined>;
  restart(): Promise<Target>;
}

export async function startTarget(
  cleanup: Cleanup,
  given: { directory?: string; runtime?: FakeRuntime; ports?: Partial<TargetPorts>; calls?: string[] } = {},
): Promise<Target> {
  const directory = given.directory ?? cleanup.directory();
  const runtime = given.runtime ?? new FakeRuntime();
  const layer = runtime.store('the layer of the base image');
  const manifest = runtime.store(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.manifest, layers: [layer] }));
  const calls = given.calls ?? [];
  const ports: TargetPorts = {
    runtime,
    registryHost: 'localhost:5001',
    fetch: async () => void calls.push('fetch'),
    fillVolumes: async (_uid, { volumes }, pod) => void calls.push(`fill ${pod} from ${volumes}`),
    retract: async ({ token }) => void calls.push(`retract ${token}`),
    contentDirectory: () => undefined,
    freeBytes: () => undefined,
    verifyContent: async () => undefined,
    removeContent: async () => void calls.push('remove the content'),
    now: () => now,
    ...given.ports,
  };
  const keeper = new TargetKeeper(ports, new Records<TargetRecord>(join(directory, 'records')), log);
  await keeper.start();
  const request = (goal: TargetGoal, change: Partial<TargetRequest> = {}): TargetRequest => ({
    goal,
    namespace: 'shop',
    transfer: 'Direct',
    containers: ['app', 'proxy'].map((name) => ({ name, baseImage: `registry.example/${name}@${manifest.digest}` })),
    volumes: [],
    ...change,
  });
  const set = async (goal: TargetGoal, change?: Partial<TargetRequest>) =>
    (await keeper.set(uid, request(goal, change), new AbortController().signal)).state;
  return {
    keeper,
    runtime,
    ports,
    store: await BlobStore.open(join(directory, 'store')),
    base: { manifest, layer },
    calls,
    request,
    set,
    serve: async (digests = { app: 'sha256:app', proxy: 'sha256:proxy' }) => {
      await set('Prepared');
      for (const [name, digest] of Object.entries(digests)) await keeper.received(uid, name, digest);
      await set('Serving', { pod: 'web-zzzzz' });
    },
    token: () => keeper.view(uid).repository ?? '',
    start: (change = {}) => ({
      namespace: 'shop',
      pod: 'web-zzzzz',
      podUid,
      container: 'app',
      image: `localhost:5001/${keeper.view(uid).repository}/app@${manifest.digest}`,
      at: '2026-11-24T12:00:01.000Z',
      ...change,
    }),
    written: async () => {
      const text = await readFile(join(directory, 'records', `${uid}.json`), 'utf8').catch(() => undefined);
      return text === undefined ? undefined : (JSON.parse(text) as TargetRecord);
    },
    restart: () => startTarget(cleanup, { directory, runtime, ports, calls }),
  };
}
