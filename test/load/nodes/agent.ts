import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { Server } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type AgentTls, secure } from '../../../src/agent/mutual-tls.ts';
import { agentApi, agentServer } from '../../../src/agent/server.ts';
import { SourceKeeper } from '../../../src/agent/source.ts';
import { TargetKeeper } from '../../../src/agent/target.ts';
import type { Timings } from '../timings.ts';
import { MemoryRecords } from './records.ts';
import { FakeRuntime } from './runtime.ts';

export interface NodeAddress {
  name: string;
  /** Of the loopback, its own. */
  address: string;
}

export interface AgentSettings {
  port: number;
  timings: Timings;
  /** For the archives, which are empty. */
  directory: string;
}

/** Bytes of an archive, for what agents tell of them. */
const archiveBytes = 64 << 20;

/** All nodes are alike. */
const sameCpu = { architecture: 'amd64', vendor: 'GenuineIntel', features: ['fpu', 'sse2'] };

/** Where kubelets pull from; nobody listens there. */
export const registryHost = 'localhost:9441';

/** One node's agent: podferry's own goals, leases, records and server; CRIU and the network between nodes are pauses. */
export class FakeAgent {
  readonly node: NodeAddress;
  readonly runtime = new FakeRuntime();
  readonly sources: SourceKeeper;
  readonly targets: TargetKeeper;
  readonly #settings: AgentSettings;
  readonly #log: Logger;
  #server: Server | undefined;

  /** @param agentAt the agent at an address (host:port) */
  constructor(node: NodeAddress, settings: AgentSettings, agentAt: (address: string) => FakeAgent | undefined, log: Logger) {
    this.node = node;
    this.#settings = settings;
    this.#log = log;
    const { runtime } = this;
    const { checkpoint, ship } = settings.timings;
    const now = () => Date.now();
    this.sources = new SourceKeeper(
      {
        runtime,
        way: 'runtime',
        freeBytes: () => undefined,
        checkpoint: (_uid, { podUid }, { name }) => {
          const archive = (async () => {
            await sleep(checkpoint);
            const path = join(settings.directory, `${podUid}-${name}.tar`);
            await writeFile(path, '');
            return path;
          })();
          return { archive, whole: archive.then(() => undefined) };
        },
        ship: async ({ destination }, container, { path }, { progress }, signal) => {
          await sleep(ship / 2, undefined, { signal });
          progress(archiveBytes / 2);
          await sleep(ship / 2, undefined, { signal });
          const target = agentAt(destination.address)?.targets;
          const found = target?.find(destination.repository);
          if (!target || !found) throw new Error(`the agent at ${destination.address} does not know ${destination.repository}`);
          const digest = `sha256:${createHash('sha256').update(path).digest('hex')}`;
          await target.received(found.uid, container, digest);
          return { digest, bytes: archiveBytes };
        },
        shipVolumes: async () => ({ digest: '', bytes: 0 }),
        removeVolumes: async () => undefined,
        boot: 'this boot',
        removeCheckpoints: async () => undefined,
        retract: async () => undefined,
        now,
      },
      new MemoryRecords(),
      new MemoryRecords(),
      log,
    );
    this.targets = new TargetKeeper(
      {
        runtime,
        registryHost,
        fetch: async () => undefined,
        fillVolumes: async () => undefined,
        retract: async () => undefined,
        contentDirectory: () => undefined,
        freeBytes: () => undefined,
        verifyContent: async () => undefined,
        removeContent: async () => undefined,
        now,
      },
      new MemoryRecords(),
      log,
    );
  }

  async start(tls: AgentTls): Promise<void> {
    await this.targets.start();
    await this.sources.start();
    const nothing = Object.assign(
      (_request: unknown, response: { writeHead(status: number): { end(): void } }) => {
        response.writeHead(404).end();
      },
      { close: async () => undefined },
    );
    this.#server = agentServer(
      agentApi(this.sources, this.targets, async () => sameCpu, this.#log),
      nothing,
      tls,
    );
    this.#server.listen(this.#settings.port, this.node.address);
    await once(this.#server, 'listening');
  }

  setTls(tls: AgentTls): void {
    this.#server?.setSecureContext(secure(tls));
  }
}
