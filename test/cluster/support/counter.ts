import type { Pod } from '../../../src/api/pod.ts';
import { imageOf } from './images.ts';
import { until } from './until.ts';

/** What a counter (test/lab/go/counter) says of itself. */
export interface Counted {
  /** Random, made when the process began: the same means the same memory. */
  birth: string;
  count: number;
  /** Of its block of random memory. */
  checksum: number;
  greeting: string;
  /** Of its ServiceAccount token. */
  token: number;
}

export interface CounterOptions {
  name?: string;
  port?: number;
  env?: Record<string, string>;
  envFrom?: object[];
  volumeMounts?: object[];
  [field: string]: unknown;
}

/** A container that counts ten times a second. */
export async function counterContainer({ name = 'counter', port = 8080, env = {}, ...fields }: CounterOptions = {}) {
  return {
    name,
    image: await imageOf('counter'),
    // Go listens with Multipath TCP, which CRIU cannot dump.
    env: Object.entries({ GODEBUG: 'multipathtcp=0', PORT: String(port), ...env }).map(([key, value]) => ({ name: key, value })),
    readinessProbe: { httpGet: { path: '/', port }, periodSeconds: 1 },
    ...fields,
  };
}

/** A pod's spec with one counter, on the node. */
export async function counterSpec(nodeName?: string, options: CounterOptions = {}, fields: object = {}) {
  return {
    ...(nodeName ? { nodeSelector: undefined, affinity: onNode(nodeName) } : {}),
    terminationGracePeriodSeconds: 1,
    containers: [await counterContainer(options)],
    ...fields,
  };
}

/** Prefers a node without excluding the others: the pod has to be able to move. */
export function onNode(name: string) {
  return {
    nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [name] }] } },
      ],
    },
  };
}

/** Asks a counter. @throws Error when it does not answer */
export async function ask(pod: Pod, port = 8080, path = '/'): Promise<Counted> {
  const response = await fetch(`http://${pod.status?.podIP}:${port}${path}`, { signal: AbortSignal.timeout(3000) });
  return (await response.json()) as Counted;
}

/** Waits until the counter has counted a little, so that what it holds is its own. */
export function counted(pod: Pod, atLeast = 5, port = 8080): Promise<Counted> {
  return until(`the counter of pod ${pod.metadata.name} reaches ${atLeast}`, async () => {
    const answer = await ask(pod, port);
    return answer.count >= atLeast ? answer : undefined;
  });
}

/** After a move: the same memory, and the count went on from where it was, neither back nor ahead of what time allows. */
export function expectSameMemory(before: Counted, after: Counted, secondsBetween: number): void {
  expect({ birth: after.birth, checksum: after.checksum }).toEqual({ birth: before.birth, checksum: before.checksum });
  expect(after.count).toBeGreaterThanOrEqual(before.count);
  expect(after.count).toBeLessThanOrEqual(before.count + secondsBetween * 10 + 5);
}
