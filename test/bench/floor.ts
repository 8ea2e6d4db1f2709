import { randomBytes } from 'node:crypto';
import { host } from '../cluster/support/lab.ts';
import type { Space } from '../cluster/support/space.ts';
import type { Cell } from './cells.ts';
import type { Client } from './client.ts';
import { NodeShell } from './node-shell.ts';
import { createSource, destination, portsOf, remove, source, specOf } from './pods.ts';
import type { Floor } from './results.ts';

/** On the disk that podferry's checkpoints lie on. */
const directory = '/var/lib/podferry/bench';
const copy = 'bench-floor';

/** What no way of moving a pod of this size can do without: CRIU's dump, CRIU's restore, and a pod's start by Kubernetes. */
export async function measureFloor(space: Space, client: Client, mebibytes: number, repetition: number): Promise<Floor> {
  const cell: Cell = { mebibytes, load: 'random', containers: 1 };
  const { dump, restore } = await dumpAndRestore(space, cell);
  return { mebibytes, repetition, dump, restore, plainPod: await plainPod(space, client) };
}

/**
 * A task's images are written as podferry has them written, and restored by runc itself: in the pod's own surroundings (root file
 * system, mounts), but in a network and cgroups of its own, since the paused original still has its port.
 */
async function dumpAndRestore(space: Space, cell: Cell): Promise<{ dump: number; restore: number }> {
  const name = `floor-${cell.mebibytes}`;
  const shell = new NodeShell(source);
  try {
    const pod = await createSource(space, name, cell);
    await host('sync');
    const id = pod.status?.containerStatuses?.[0]?.containerID?.replace('containerd://', '') ?? '';
    await shell.run(`${removal}\nmkdir -p ${directory}/images ${directory}/criu ${directory}/bundle\nctr -n k8s.io tasks pause ${id}`);
    const dump = await shell.run(`ctr -n k8s.io tasks checkpoint --image-path ${directory}/images --work-path ${directory}/criu ${id}`);
    const state = `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${id}`;
    await shell.run(
      `ip netns add ${copy}\nip -n ${copy} link set lo up\njq '.linux.cgroupsPath = "/${copy}" | .root.path = "${state}/rootfs" | (.linux.namespaces[] | select(.type == "network")).path = "/run/netns/${copy}"' ${state}/config.json >${directory}/bundle/config.json`,
    );
    const restore = await shell.run(
      `runc --root ${directory}/runc restore --detach --image-path ${directory}/images --work-path ${directory}/criu --bundle ${directory}/bundle ${copy} >${directory}/restore.out 2>${directory}/restore.err || { cat ${directory}/restore.err >&2; tail -n 5 ${directory}/criu/restore.log >&2; false; }`,
    );
    await shell.run(`runc --root ${directory}/runc state ${copy} | jq -e '.status == "running"'`);
    await shell.run(`ctr -n k8s.io tasks resume ${id}`);
    return { dump: dump.milliseconds, restore: restore.milliseconds };
  } finally {
    await shell.run(removal).catch(() => undefined);
    shell.close();
    await remove(space, name);
  }
}

const removal = `runc --root ${directory}/runc delete --force ${copy} 2>/dev/null || true\nip netns delete ${copy} 2>/dev/null || true\nrm -rf ${directory}`;

/** Also what an earlier run left. */
export async function sweepFloor(shell: NodeShell): Promise<void> {
  await shell.run(removal);
}

/** A pod that is created on the destination, where its image is, until it answers. Milliseconds. */
async function plainPod(space: Space, client: Client): Promise<number> {
  const name = `plain-${randomBytes(4).toString('hex')}`;
  const cell: Cell = { mebibytes: 1, load: 'random', containers: 1 };
  try {
    await client.watch(portsOf(cell));
    const began = Date.now();
    const spec = { ...(await specOf(cell)), nodeName: destination };
    await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
    const [first] = await client.firstOfTarget(60_000);
    return (first?.at ?? Number.NaN) - began;
  } finally {
    client.stop();
    await remove(space, name);
  }
}
