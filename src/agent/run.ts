import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { SourceRequest, TargetRequest } from '../api/agent.ts';
import { secretNames } from '../api/names.ts';
import { createRegistryHandler } from '../image/registry-server.ts';
import { KubeClient } from '../kube/client.ts';
import { loadConfig } from '../kube/config.ts';
import { watchTlsSecret } from '../kube/tls-secret.ts';
import type { CheckpointWay } from '../plan/room.ts';
import { messageOf } from '../util/errors.ts';
import { collectGarbage } from '../util/garbage.ts';
import { newMetrics, serveProbes } from '../util/probes.ts';
import { currentBoot } from './boot.ts';
import { Checkpointer } from './checkpointer.ts';
import { ContainerdRuntime } from './containerd/runtime.ts';
import { ContentStores } from './content.ts';
import { readCpu } from './cpu.ts';
import { ensureCriuConfig } from './criu-config.ts';
import { ensureCriuHook } from './criu-hook.ts';
import { freeBytes } from './disk.ts';
import { KeptVolumes } from './kept-volumes.ts';
import { Kubelet } from './kubelet.ts';
import { MemoryAtHand } from './memory-at-hand.ts';
import { MemoryServer } from './memory-server.ts';
import { listen, plainServer, secure } from './mutual-tls.ts';
import { Records } from './records.ts';
import { pullBackend, pushBackend, takesIn } from './registry.ts';
import type { Runtime } from './runtime.ts';
import { agentApi, agentServer } from './server.ts';
import { Shipper, type TransferRegistry } from './ship.ts';
import { type Forgotten, SourceKeeper, type SourceRecord } from './source.ts';
import { TargetKeeper, type TargetRecord } from './target.ts';

export interface AgentOptions {
  /** podferry's own namespace. */
  namespace: string;
  /** This node's own address: where the kubelet listens, and other agents reach this one. */
  hostIp: string;
  /** Ports: for the controller and other agents, for the memory they send, for this node's kubelet on the loopback, for probes and metrics. */
  port: number;
  memoryPort: number;
  registryPort: number;
  probesPort: number;
  kubeletPort: number;
  /** CA that signed the kubelets' serving certificates; undefined: they are not checked. */
  kubeletCaFile: string | undefined;
  kubeletDirectory: string;
  /** containerd's state directory, with its socket. */
  containerdState: string;
  /** containerd's root directory, where its shims have CRIU write. */
  containerdRoot: string;
  stateDirectory: string;
  criuConfig: string;
  checkpoint: CheckpointWay;
  registry: TransferRegistry | undefined;
}

/** What the runtime may take for one checkpoint, seconds; the migration's own limit ends it sooner. */
const checkpointTimeout = 3600;

/** What removing a checkpoint from the registry may take. Milliseconds. */
const retractDeadline = 10_000;

/** How often what nobody needs any more is looked for. Milliseconds. */
const sweepInterval = 30_000;

/** After the logs of restores could not be watched. Milliseconds. */
const failuresRetry = 60_000;

/** Runs the node's agent until the signal aborts. */
export async function runAgent(options: AgentOptions, log: Logger, signal: AbortSignal): Promise<void> {
  // Beside the configuration that names it: CRIU fails without it, so it has to stay as long, also when podferry is gone.
  const hook = join(dirname(options.criuConfig), 'podferry-hook');
  const beside = options.checkpoint === 'runtime';
  if (beside) await ensureCriuHook(hook);
  const added = await ensureCriuConfig(options.criuConfig, beside ? hook : undefined);
  if (added.length) log.info({ path: options.criuConfig, added }, 'CRIU of this node was told how to treat connections and deleted files');

  const runtime = new ContainerdRuntime(options.containerdState, options.containerdRoot);
  const client = new KubeClient(loadConfig(), { userAgent: 'podferry-agent' });
  const onError = (error: unknown) => log.warn({ error: messageOf(error) }, 'watching the certificate');
  const certificate = watchTlsSecret(
    client,
    options.namespace,
    secretNames.agent,
    (material) => {
      server?.setSecureContext(secure(material));
      memory?.renew(material);
    },
    onError,
  );
  let server: ReturnType<typeof agentServer> | undefined;
  let memory: MemoryServer | undefined;
  const problems = { runtime: 'not asked yet' as string | undefined };
  const metrics = newMetrics();
  const probes = await serveProbes(options.probesPort, options.hostIp, metrics, {
    certificate: () =>
      certificate.current ? undefined : `Secret ${options.namespace}/${secretNames.agent} is not there yet (the controller makes it)`,
    runtime: () => problems.runtime,
    server: () => (server?.listening ? undefined : 'not listening yet'),
  });

  const kubelet = await Kubelet.connect({
    host: options.hostIp,
    port: options.kubeletPort,
    tokenFile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
    ...(options.kubeletCaFile ? { caFile: options.kubeletCaFile } : {}),
  });
  const tls = await certificate.ready(signal);
  const shipper = new Shipper({
    tls: () => certificate.current ?? tls,
    registry: options.registry,
    kubeletDirectory: options.kubeletDirectory,
  });
  const content = join(options.stateDirectory, 'content');
  const contents = new ContentStores(content);
  const keptVolumes = new KeptVolumes(join(options.stateDirectory, 'volumes'), options.kubeletDirectory);
  const checkpoints = join(options.stateDirectory, 'checkpoints');
  const checkpointer = new Checkpointer({
    runtime,
    kubelet,
    way: options.checkpoint,
    directory: checkpoints,
    timeout: checkpointTimeout,
  });
  const dumps = beside ? checkpointer.memory : undefined;
  const retract = (request: SourceRequest | TargetRequest, token: string) =>
    shipper
      .retract(request, token, AbortSignal.timeout(retractDeadline))
      .catch((error: unknown) => log.warn({ error: messageOf(error) }, 'a checkpoint could not be removed from the registry'));
  const now = () => Date.now();

  const sources = new SourceKeeper(
    {
      runtime,
      way: options.checkpoint,
      // The kubelet's archives lie in its own directory.
      freeBytes: () => freeBytes(options.checkpoint === 'runtime' ? checkpoints : options.kubeletDirectory),
      collectGarbage,
      prepareCheckpoint: (uid, container, stop) => checkpointer.prepare(uid, container, stop),
      connect: (request, stop) => shipper.connect(request, stop),
      checkpoint: (uid, request, container) => checkpointer.checkpoint(uid, request, container),
      memoryAtHand: (bytes, milliseconds, stop) => MemoryAtHand.take(checkpoints, bytes, milliseconds, stop),
      ...(dumps && {
        ahead: {
          checkpoint: dumps,
          ship: (request, container, memory, flow, stop) => shipper.memory(request, container, memory, flow, stop),
        },
      }),
      ship: (request, container, archive, flow, stop) => shipper.archive(request, container, archive, flow, stop),
      shipVolumes: (uid, request, before, flow, stop) =>
        shipper.volumes(request, before, (volume) => keptVolumes.pack(uid, request, volume, stop), flow, stop),
      removeVolumes: (uid) => keptVolumes.remove(uid),
      retract: (request) => retract(request, request.destination.repository),
      removeCheckpoints: (uid) => checkpointer.remove(uid),
      boot: await currentBoot(),
      now,
    },
    new Records<SourceRecord>(join(options.stateDirectory, 'sources')),
    new Records<Forgotten>(join(options.stateDirectory, 'forgotten')),
    log,
  );
  const targets: TargetKeeper = new TargetKeeper(
    {
      runtime,
      registryHost: `localhost:${options.registryPort}`,
      fetch: async (uid, { request, token }, stop) =>
        shipper.fetch(request, token, await contents.of(uid), (part, digest) => targets.received(uid, part, digest), stop),
      fillVolumes: async (uid, { volumes }, podUid, stop) => shipper.unpackVolumes(await contents.of(uid), volumes ?? '', podUid, stop),
      retract: ({ request, token }) => retract(request, token),
      verifyContent: (uid) => contents.verify(uid),
      removeContent: (uid) => contents.remove(uid),
      freeBytes: () => freeBytes(content),
      contentDirectory: (uid) => (beside ? contents.blobsOf(uid) : undefined),
      memoryPort: options.memoryPort,
      now,
    },
    new Records<TargetRecord>(join(options.stateDirectory, 'targets')),
    log,
  );
  await targets.start();
  await contents.sweep((uid) => targets.knows(uid));
  await sources.start();

  const ports = { targets, runtime, contentOf: (uid: string) => contents.of(uid) };
  const report = (error: unknown, request: { method: string; path: string }) =>
    log.error({ ...request, error: messageOf(error) }, 'the registry failed');
  const push = createRegistryHandler(pushBackend(ports), { onError: report });
  const pull = createRegistryHandler(pullBackend(ports), { onError: report });
  server = agentServer(
    agentApi(sources, targets, () => readCpu(), log),
    push,
    certificate.current ?? tls,
  );
  const loopback = plainServer(pull);
  const directoryOf = async (repository: string) => {
    const place = takesIn(ports, repository);
    return place && contents.directoryOf(place.uid);
  };
  if (beside) memory = await MemoryServer.start({ port: options.memoryPort, tls: certificate.current ?? tls, directoryOf }, log);
  await Promise.all([listen(server, options.port), listen(loopback, options.registryPort, '127.0.0.1')]);
  log.info({ port: options.port, registry: `localhost:${options.registryPort}` }, 'the agent is ready');

  await Promise.all([
    memory && Promise.race([memory.failed, aborted(signal)]),
    followStarts(runtime, targets, log, signal, (problem, broken) => {
      problems.runtime = problem;
      if (broken) sources.runtimeLost();
    }),
    followFailures(runtime, targets, log, signal),
    every(
      sweepInterval,
      signal,
      async () => {
        await targets.sweep((podUid) => exists(join(options.kubeletDirectory, 'pods', podUid)));
      },
      log,
    ),
  ]);

  // A pod that is frozen stays so, and its lease runs on: the next agent of this node takes it up.
  await sources.stop();
  await Promise.all([push.close(), pull.close(), memory?.close()]);
  for (const open of [server, loopback]) {
    open.close();
    open.closeAllConnections();
  }
  await Promise.all([certificate.stop(), kubelet.close(), probes.close(), client.close(), shipper.close()]);
  runtime.close();
}

/** Sees containers start, also those that started while nobody looked; and tells when the runtime goes away (`broken`). */
async function followStarts(
  runtime: Runtime,
  targets: TargetKeeper,
  log: Logger,
  signal: AbortSignal,
  state: (problem: string | undefined, broken?: boolean) => void,
): Promise<void> {
  while (!signal.aborted) {
    const catchUp = catchUpStarts(runtime, targets, signal).then(
      () => state(undefined),
      (error: unknown) => state(`containerd does not answer: ${messageOf(error)}`),
    );
    // A failure of ours in between says nothing of the runtime.
    let ours = false;
    try {
      for await (const start of runtime.starts(signal)) {
        ours = true;
        await targets.started(start);
        ours = false;
      }
      state('containerd ended its events', true);
    } catch (error) {
      if (signal.aborted) return;
      state(`containerd does not answer: ${messageOf(error)}`, !ours);
      log.warn({ error: messageOf(error) }, 'the events of the runtime broke off; asking again');
    }
    await catchUp;
    await sleep(500, undefined, { signal }).catch(() => undefined);
  }
}

/** Sees restores fail. It only helps to say why, so that an agent which cannot does all else. */
async function followFailures(runtime: Runtime, targets: TargetKeeper, log: Logger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const failure of runtime.failedRestores(() => targets.awaited().length > 0, signal)) targets.restoreFailed(failure);
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'why CRIU cannot restore something will not be seen on this node; tried again');
      await sleep(failuresRetry, undefined, { signal }).catch(() => undefined);
    }
  }
}

async function catchUpStarts(runtime: Runtime, targets: TargetKeeper, signal: AbortSignal): Promise<void> {
  // The subscription is up only some time after it was asked for.
  await sleep(200, undefined, { signal }).catch(() => undefined);
  await runtime.containersOf('00000000-0000-0000-0000-000000000000', signal);
  for (const { namespace, pod } of targets.awaited()) {
    for (const start of await runtime.started(namespace, pod, signal)) await targets.started(start);
  }
}

async function every(interval: number, signal: AbortSignal, work: () => Promise<void>, log: Logger): Promise<void> {
  while (!signal.aborted) {
    await sleep(interval, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    await work().catch((error: unknown) => log.warn({ error: messageOf(error) }, 'cleaning up failed; tried again later'));
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Resolves when it is. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
