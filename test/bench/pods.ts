import { pods } from '../../src/kube/resources.ts';
import { cluster } from '../cluster/support/cluster.ts';
import { counterContainer, onNode } from '../cluster/support/counter.ts';
import { imageOf } from '../cluster/support/images.ts';
import { lab } from '../cluster/support/lab.ts';
import type { Space } from '../cluster/support/space.ts';
import { until } from '../cluster/support/until.ts';
import { BaseRegistry } from './base-registry.ts';
import type { Cell } from './cells.ts';

/** From where to where pods are moved. */
export const source = 'node-a';
export const destination = 'node-b';

export const portsOf = ({ containers }: Pick<Cell, 'containers'>) => Array.from({ length: containers }, (_, index) => 8080 + index);

/** Names of the containers that listen on those ports. */
export const containerOn = (port: number) => `counter-${port}`;

/** Thousandths of a core. */
const halfACore = 500;

/** Counters that share out the memory; readiness asks what costs nothing, not for the checksum of all memory. */
async function containersOf(cell: Cell) {
  const image = BaseRegistry.reference(await lab(), await imageOf('counter'));
  return Promise.all(
    portsOf(cell).map((port) =>
      counterContainer({
        name: containerOn(port),
        port,
        image,
        env: { MB: String(Math.round(cell.mebibytes / cell.containers)), LOAD: cell.load },
        resources: { requests: { cpu: `${Math.floor(halfACore / cell.containers)}m` } },
        readinessProbe: { httpGet: { path: '/ping', port }, periodSeconds: 1 },
      }),
    ),
  );
}

/** What is the same of all pods of a kind. */
export async function specOf(cell: Cell) {
  return {
    terminationGracePeriodSeconds: 1,
    containers: await containersOf(cell),
    ...(cell.volumes === false && { automountServiceAccountToken: false }),
  };
}

/** A bare pod on the source, as people run them: free to go elsewhere. */
export async function createSource(space: Space, name: string, cell: Cell) {
  const spec = { ...(await specOf(cell)), affinity: onNode(source) };
  await space.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
  const pod = await space.ready(name, 180_000);
  if (pod.spec.nodeName !== source) throw new Error(`pod ${name} was placed on ${pod.spec.nodeName}, not on ${source}`);
  return pod;
}

/** Gone without waiting for it to end by itself. */
export async function remove(space: Space, name: string): Promise<void> {
  const client = await cluster();
  if (!(await space.findPod(name))) return;
  await client.delete(pods, { namespace: space.name, name }, { gracePeriodSeconds: 0 });
  await until(`pod ${name} is gone`, async () => ((await space.findPod(name)) ? undefined : true), 60_000);
}
