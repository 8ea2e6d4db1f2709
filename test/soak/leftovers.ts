import { kubectl, onNode } from '../cluster/support/lab.ts';
import { until } from '../cluster/support/until.ts';

const nodes = ['node-a', 'node-b'];

/** Memory of podferry's processes in MiB, by component and node: what is their own (RssAnon), without the program's file. */
export async function memory(): Promise<Record<string, number>> {
  const entries = await Promise.all(
    nodes.flatMap((node) =>
      ['agent', 'controller', 'webhook'].map(async (component): Promise<[string, number]> => {
        const kibibytes = await onNode(
          node,
          'sh',
          '-c',
          `awk '/^RssAnon/{print $2}' /proc/$(pgrep -o -f "podferry/main.js ${component}")/status`,
        );
        return [`${component} on ${node}`, Math.round(Number(kibibytes) / 1024)];
      }),
    ),
  );
  return Object.fromEntries(entries);
}

/** What lies on the nodes that no living migration needs; empty when all is well. A sweep may be due, so it is asked for a while. */
export async function leftovers(livingPods: number): Promise<string[]> {
  let found: string[] = [];
  await until(
    'the nodes are clean',
    async () => {
      found = (await Promise.all(nodes.map((node) => on(node, livingPods)))).flat();
      const placeholders = await kubectl('get', 'pods', '-A', '-l', 'podferry.io/role', '-o', 'name');
      found.push(
        ...placeholders
          .split('\n')
          .filter(Boolean)
          .map((pod) => `helper pod ${pod}`),
      );
      return found.length === 0 ? true : undefined;
    },
    150_000,
    2000,
  ).catch(() => undefined);
  return found;
}

async function on(node: string, livingPods: number): Promise<string[]> {
  const list = async (command: string) => (await onNode(node, 'sh', '-c', `${command} 2>/dev/null || true`)).split('\n').filter(Boolean);
  const problems = [
    ...(await list('ls -A /var/lib/kubelet/checkpoints')).map((name) => `archive ${name}`),
    ...(await list('ls -A /var/lib/podferry/checkpoints')).map((name) => `checkpoint ${name}`),
    ...(await list('ls -A /var/lib/podferry/sources')).map((name) => `source record ${name}`),
    ...(await list('ls -A /var/lib/podferry/volumes')).map((name) => `kept volumes ${name}`),
    ...(await list('ls -A /var/lib/podferry/content')).map((name) => `received content ${name}`),
  ];
  // One record a pod that was moved here and lives, for its restarts; and its base images under the loopback's name.
  const targets = await list('ls -A /var/lib/podferry/targets');
  if (targets.length > livingPods) problems.push(`${targets.length} target records`);
  const images = await list('ctr -n k8s.io images ls -q | grep ^localhost:9441/');
  if (images.length > 4 * livingPods) problems.push(`${images.length} images of migrations`);
  return problems.map((problem) => `${node}: ${problem}`);
}
