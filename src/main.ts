#!/usr/bin/env node
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Logger } from 'pino';
import manifest from '../package.json' with { type: 'json' };
import { formats, triggerWords } from './cli/options.ts';
import { messageOf } from './util/errors.ts';
import { type LogLevel, logLevels, newLogger } from './util/log.ts';

/**
 * The entry point of podferry's image: `podferry webhook|controller|agent`, and `podferry preview` for people. Each loads its own
 * code only when it is what runs: an agent has no use for a web framework, and memory of it on every node.
 */
const program = new Command('podferry')
  .description('Live pod migration for Kubernetes: the processes of the cluster, and a look at what policies would do.')
  .version(manifest.version);

program
  .command('webhook')
  .description('answer what the API server asks about pods (several replicas)')
  .addOption(namespaceOption())
  .addOption(new Option('--identity <name>', 'name of this replica').env('POD_NAME').makeOptionMandatory())
  .addOption(number('--port <port>', 'HTTPS for the API server', 9443))
  .addOption(number('--probes-port <port>', 'HTTP for /healthz, /readyz and /metrics', 8080))
  .addOption(number('--deadline <ms>', 'time for an answer, below timeoutSeconds of the webhook configuration', 25_000))
  .addOption(logLevelOption())
  .action((options) =>
    run('webhook', options.logLevel, async (log, signal) => (await import('./webhook/run.ts')).runWebhook(options, log, signal)),
  );

program
  .command('controller')
  .description('carry migrations through (several replicas, one leads)')
  .addOption(namespaceOption())
  .addOption(new Option('--identity <name>', 'name of this replica').env('POD_NAME').makeOptionMandatory())
  .requiredOption('--placeholder-image <image>', 'an image that just waits, for the pod that holds the room', 'registry.k8s.io/pause:3.10')
  .addOption(number('--lease <ms>', 'how long an agent keeps a pod frozen without hearing from the controller', 15_000))
  .addOption(number('--concurrency <n>', 'migrations worked on at the same time', 16))
  .addOption(number('--agent-port <port>', 'port of the agents', 9440))
  .addOption(number('--probes-port <port>', 'HTTP for /healthz, /readyz and /metrics', 8080))
  .addOption(logLevelOption())
  .action((options) =>
    run('controller', options.logLevel, async (log, signal) =>
      (await import('./controller/run.ts')).runController(
        { ...options, settings: { placeholderImage: options.placeholderImage, leaseMilliseconds: options.lease } },
        log,
        signal,
      ),
    ),
  );

program
  .command('agent')
  .description('freeze, checkpoint, ship and serve on this node (one a node)')
  .addOption(namespaceOption())
  .addOption(new Option('--host-ip <address>', "this node's address").env('HOST_IP').makeOptionMandatory())
  .addOption(number('--port <port>', 'TLS for the controller and other agents', 9440))
  .addOption(number('--memory-port <port>', 'TLS for the memory that other agents send', 9443))
  .addOption(number('--registry-port <port>', "HTTP on the loopback, for this node's kubelet", 9441))
  .addOption(number('--probes-port <port>', 'HTTP for /healthz, /readyz and /metrics', 9442))
  .addOption(number('--kubelet-port <port>', 'port of the kubelet', 10_250))
  .option('--kubelet-ca-file <path>', "CA of the kubelets' serving certificates; left out: they are not checked")
  .option('--kubelet-directory <path>', "the kubelet's root directory", '/var/lib/kubelet')
  .option('--containerd-root <path>', "containerd's root directory, with what CRIU writes of restores", '/var/lib/containerd')
  .option('--containerd-state <path>', "containerd's state directory, with its socket", '/run/containerd')
  .option('--state-directory <path>', 'what the agent must not forget', '/var/lib/podferry')
  .option('--criu-config <path>', "CRIU's configuration for runc", '/etc/criu/runc.conf')
  .addOption(
    new Option(
      '--checkpoint <way>',
      "by the container runtime itself where it can (fewer copies), or by the kubelet's checkpoint API always",
    )
      .choices(['runtime', 'kubelet'])
      .default('runtime'),
  )
  .option('--registry <reference>', 'HOST[:PORT]/PREFIX for the transfer Registry')
  .option('--registry-credentials <path>', 'a .dockerconfigjson', '/etc/podferry/registry/config.json')
  .option('--registry-ca-file <path>', 'CA of the registry', '/etc/podferry/registry/ca.crt')
  .addOption(logLevelOption())
  .action((options) =>
    run('agent', options.logLevel, async (log, signal) =>
      (await import('./agent/run.ts')).runAgent(
        {
          ...options,
          registry: options.registry && {
            reference: options.registry,
            credentialsFile: options.registryCredentials,
            caFile: options.registryCaFile,
          },
        },
        log,
        signal,
      ),
    ),
  );

program
  .command('preview')
  .description('show what policies would do to the pods of a node now; nothing is done')
  .argument('<node>', 'name of the node')
  .option(
    '--policy <name-or-file>',
    'only pods to which this policy applies; a file (a path, or - for stdin) is taken as if it was applied',
  )
  .addOption(
    new Option('--trigger <trigger>', 'eviction: all pods are evicted, as kubectl drain does; node: what is asked for as the node is now')
      .choices(Object.keys(triggerWords))
      .default('eviction'),
  )
  .addOption(
    new Option('-o, --output <format>', 'table for people; json, yaml: the Migrations that would be made; name: their names')
      .choices(formats)
      .default('table'),
  )
  .option('--kubeconfig <path>', 'as kubectl takes it')
  .option('--context <name>', 'of the kubeconfig')
  // What commander calls an error here is a wrong use of the command.
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
  .action(async (node, options) => {
    process.exitCode = await (await import('./cli/preview.ts')).preview(node, options);
  });

await program.parseAsync();

function namespaceOption(): Option {
  return new Option('--namespace <name>', "podferry's own namespace").env('POD_NAMESPACE').default('podferry-system');
}

function logLevelOption(): Option {
  return new Option('--log-level <level>', 'least level that is logged').choices(logLevels).env('LOG_LEVEL').default('info');
}

function number(flags: string, description: string, fallback: number): Option {
  return new Option(flags, description).default(fallback).argParser((text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('it is not a whole number');
    return value;
  });
}

/** Runs a process until SIGTERM or SIGINT; a second signal ends it at once. */
async function run(component: string, level: LogLevel, work: (log: Logger, signal: AbortSignal) => Promise<void>): Promise<void> {
  const log = newLogger(component, level);
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(1);
      log.info({ signal: name }, 'ending');
      stop.abort(new Error(`stopped by ${name}`));
    });
  }
  try {
    await work(log, stop.signal);
    process.exit(0);
  } catch (error) {
    if (stop.signal.aborted) process.exit(0);
    log.fatal({ error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }, 'cannot go on');
    process.exit(1);
  }
}
