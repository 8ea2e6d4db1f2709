import { kubectl, onNode, service } from '../cluster/support/lab.ts';
import { until } from '../cluster/support/until.ts';

/** The tools that faults break things with. */

/** kill -9 of a podferry process on a node; its kubelet starts it again. Nothing when there is none. */
export async function killPodferry(node: string, component: 'agent' | 'controller' | 'webhook'): Promise<void> {
  await onNode(node, 'pkill', '-KILL', '-f', `podferry/main.js ${component}`).catch(() => undefined);
}

export async function signalPodferry(node: string, component: 'agent' | 'controller' | 'webhook', signal: 'STOP' | 'CONT'): Promise<void> {
  await onNode(node, 'pkill', `-${signal}`, '-f', `podferry/main.js ${component}`);
}

/** The node of the controller that leads. */
export async function leaderNode(): Promise<string> {
  const holder = await kubectl('-n', 'podferry-system', 'get', 'lease', 'podferry-controller', '-o', 'jsonpath={.spec.holderIdentity}');
  const pod = holder.split('_')[0] ?? '';
  return kubectl('-n', 'podferry-system', 'get', 'pod', pod, '-o', 'jsonpath={.spec.nodeName}');
}

export async function killLeader(): Promise<void> {
  await killPodferry(await leaderNode(), 'controller');
}

export async function killAll(component: 'controller' | 'webhook'): Promise<void> {
  await Promise.all(['node-a', 'node-b'].map((node) => killPodferry(node, component)));
}

/** All of podferry is Ready again. Pods that were killed often are made anew: their kubelet would wait longer each time. */
export async function podferryIsReady(): Promise<void> {
  const names = await kubectl(
    '-n',
    'podferry-system',
    'get',
    'pods',
    '-o',
    'jsonpath={range .items[?(@.status.containerStatuses[0].restartCount>0)]}{.metadata.name} {end}',
  );
  const killed = names.split(' ').filter(Boolean);
  if (killed.length) await kubectl('-n', 'podferry-system', 'delete', 'pod', ...killed, '--grace-period=1', '--wait=false');
  await until(
    'podferry is ready',
    async () => {
      const pods = JSON.parse(await kubectl('-n', 'podferry-system', 'get', 'pods', '-o', 'json')) as {
        items: { status: { conditions?: { type: string; status: string }[] } }[];
      };
      const ready = pods.items.filter(({ status }) => status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'));
      return ready.length === pods.items.length && ready.length >= 6 ? true : undefined;
    },
    120_000,
    500,
  );
}

/** All nodes and services of the lab run, and the nodes are Ready and take pods. */
export async function labIsWhole(): Promise<void> {
  for (const [node, names] of [
    ['control', ['etcd', 'registry', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'coredns']],
    ['node-a', ['containerd', 'kubelet', 'kube-proxy']],
    ['node-b', ['containerd', 'kubelet', 'kube-proxy']],
  ] as const) {
    for (const name of names) await service(node, 'start', name);
  }
  await until('the API server answers', () => kubectl('get', '--raw', '/readyz').catch(() => undefined), 60_000);
  for (const node of ['node-a', 'node-b']) await kubectl('uncordon', node).catch(() => undefined);
  await until(
    'both nodes are Ready',
    async () =>
      (await kubectl('get', 'nodes', '--no-headers')).split('\n').filter((line) => / Ready /.test(line)).length === 2 ? true : undefined,
    90_000,
    500,
  );
}

/** Cuts a node off from everybody, or takes it back. Its own processes go on. */
export async function partition(node: string, cut: boolean): Promise<void> {
  await onNode('control', 'ip', 'link', 'set', `v-${node}`, cut ? 'down' : 'up');
}

/** What runs on a node does not run any more. */
export async function endAll(node: string): Promise<void> {
  await onNode(
    node,
    'sh',
    '-c',
    "pkill -KILL -x kubelet; pkill -KILL -x containerd; pkill -KILL -f '[c]ontainerd-shim'; pkill -KILL -x counter; pkill -KILL -f '[p]odferry/main.js'; true",
  );
}

const transferFaults = {
  drop: 'drop',
  reset: 'reject with tcp reset',
  // Four bytes of a packet's content, some packets a second; what comes over a veth has no checksum that would tell.
  damage: 'meta length 1000-65535 limit rate 5/second @th,4000,32 set 0x0badf00d',
} as const;

/** What other agents send to a node's agent is dropped, refused or damaged; everything else goes on. */
export async function breakTransfer(node: string, how: keyof typeof transferFaults): Promise<void> {
  const table = 'nft add table inet faults; nft add chain inet faults in "{ type filter hook input priority 0; }"';
  await onNode(node, 'sh', '-ec', `${table}; nft add rule inet faults in iifname eth0 tcp dport { 9440, 9443 } ${transferFaults[how]}`);
}

export async function mendTransfer(node: string): Promise<void> {
  await onNode(node, 'nft', 'delete', 'table', 'inet', 'faults').catch(() => undefined);
}

/** A file system of a few MiB in the place of a directory of a node. */
export async function smallDisk(node: string, directory: string, mebibytes: number): Promise<void> {
  await onNode(node, 'sh', '-ec', `mkdir -p ${directory}; mount -t tmpfs -o size=${mebibytes}M tmpfs ${directory}`);
}

/** Somebody else takes all that is left on a file system: half of it at once, the rest as fast as it goes. */
export async function fillDisk(node: string, directory: string): Promise<void> {
  const half = `fallocate -l "$(df --output=avail -B1 ${directory} | awk 'END { print int($1 / 2) }')" ${directory}/half`;
  // What fails is the last write, when all is full.
  await onNode(node, 'sh', '-c', `${half}; dd if=/dev/zero of=${directory}/rest bs=1M; df ${directory} | grep -q 100%`);
}

export async function largeDisk(node: string, directory: string): Promise<void> {
  await onNode(node, 'umount', '-l', directory).catch(() => undefined);
}

/** CRIU of a node does not work any more, or again. */
export async function breakCriu(node: string, broken: boolean): Promise<void> {
  const script = broken
    ? 'test -e /usr/sbin/criu.real || mv /usr/sbin/criu /usr/sbin/criu.real; printf "#!/bin/sh\\nexit 1\\n" >/usr/sbin/criu; chmod 755 /usr/sbin/criu'
    : 'test ! -e /usr/sbin/criu.real || mv -f /usr/sbin/criu.real /usr/sbin/criu';
  await onNode(node, 'sh', '-ec', script);
}

/**
 * Another time for both controllers than the nodes have (libfaketime; time namespaces do not cover the real time). Monotonic
 * time stays: a skewed clock still ticks as others do.
 *
 * @param seconds ahead; negative: behind
 */
export async function skewControllers(seconds: number): Promise<void> {
  const directory = '/usr/lib/x86_64-linux-gnu/faketime';
  const env = {
    LD_PRELOAD: `${directory}/libfaketime.so.1`,
    FAKETIME: `${seconds < 0 ? '' : '+'}${seconds}`,
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    FAKETIME_NO_CACHE: '1',
  };
  const container = {
    name: 'controller',
    env: Object.entries(env).map(([name, value]) => ({ name, value })),
    volumeMounts: [{ name: 'faketime', mountPath: directory, readOnly: true }],
  };
  const volumes = [{ name: 'faketime', hostPath: { path: directory, type: 'Directory' } }];
  const patch = JSON.stringify({ spec: { template: { spec: { containers: [container], volumes } } } });
  await kubectl('-n', 'podferry-system', 'patch', 'deployment', 'podferry-controller', '-p', patch);
  await kubectl('-n', 'podferry-system', 'rollout', 'status', 'deployment/podferry-controller', '--timeout=90s');
}

/** The true time for both again. */
export async function unskewControllers(): Promise<void> {
  const skewed = await kubectl(
    '-n',
    'podferry-system',
    'get',
    'deployment',
    'podferry-controller',
    '-o',
    'jsonpath={.spec.template.spec.volumes}',
  );
  if (!skewed) return;
  await kubectl('-n', 'podferry-system', 'rollout', 'undo', 'deployment/podferry-controller');
  await kubectl('-n', 'podferry-system', 'rollout', 'status', 'deployment/podferry-controller', '--timeout=90s');
}
