import { setTimeout as sleep } from 'node:timers/promises';
import { type Container, type Pod, runningContainers } from '../../../src/api/pod.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import { KubeError } from '../../../src/kube/errors.ts';
import { Informer } from '../../../src/kube/informer.ts';
import { pods } from '../../../src/kube/resources.ts';
import { keyOf } from '../../../src/kube/types.ts';
import { WorkQueue } from '../../../src/kube/work-queue.ts';
import type { Timings } from '../timings.ts';
import { type FakeAgent, registryHost } from './agent.ts';

/** What images are said to be. */
const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

/** A kubelet asks again when its pull was refused. Milliseconds. */
const pullAgain = 1000;

export interface KubeletOptions {
  agentOf(nodeName: string): FakeAgent | undefined;
  /** IP of a pod that was given none; agents have those of their nodes. */
  addressOf(pod: Pod): string;
  timings: Timings;
  onError(error: unknown): void;
}

/** The kubelets of all nodes: pods that are bound to one run after a while, pods that are to go are gone. */
export class FakeKubelets {
  readonly #client: KubeClient;
  readonly #options: KubeletOptions;
  readonly #pods: Informer<Pod>;
  readonly #queue: WorkQueue;

  constructor(client: KubeClient, options: KubeletOptions) {
    this.#client = client;
    this.#options = options;
    this.#pods = new Informer(client, pods, { onError: options.onError });
    this.#queue = new WorkQueue((key) => this.#sync(key), { concurrency: 200, onError: (_key, error) => options.onError(error) });
  }

  start(): void {
    const look = (pod: Pod) => {
      const begins = !pod.status?.phase || pod.status.phase === 'Pending';
      if (pod.spec.nodeName && (begins || pod.metadata.deletionTimestamp)) this.#queue.add(keyOf(pod));
    };
    this.#pods.addHandlers({
      add: look,
      update: look,
      delete: ({ metadata, spec }) => this.#options.agentOf(spec.nodeName ?? '')?.runtime.remove(metadata.uid ?? ''),
    });
    this.#queue.start();
    this.#pods.start();
  }

  async #sync(key: string): Promise<void> {
    const [namespace = '', name = ''] = key.split('/');
    const pod = this.#pods.get(name, namespace);
    const agent = this.#options.agentOf(pod?.spec.nodeName ?? '');
    if (!pod || !agent) return;
    const { uid = '' } = pod.metadata;
    if (pod.metadata.deletionTimestamp) {
      await unlessGone(this.#client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0, preconditions: { uid } }));
      return;
    }
    if (pod.status?.phase === 'Running') return;
    if (!agent.runtime.knows(uid)) agent.runtime.add(namespace, name, uid);
    const restored = runningContainers(pod).filter(({ image }) => image?.startsWith(`${registryHost}/`));
    await sleep(restored.length ? this.#options.timings.restore : this.#options.timings.start);
    for (const { image = '' } of restored) {
      const found = agent.targets.find(image.split('/')[1] ?? '');
      const may = found?.record.state === 'Serving' && (await agent.targets.ready(found.uid, AbortSignal.timeout(5000)));
      if (!may) {
        this.#queue.addAfter(key, pullAgain);
        return;
      }
    }
    agent.runtime.run(
      uid,
      runningContainers(pod).map((container) => container.name),
    );
    const at = new Date().toISOString();
    for (const { name: container, image = '' } of restored) {
      await agent.targets.started({ namespace, pod: name, podUid: uid, container, image: image.replace(/:[^:/]*$/, `@${digest}`), at });
    }
    const body = { metadata: { uid }, status: this.#statusOf(pod, at) };
    await unlessGone(this.#client.patch(pods, { namespace, name }, { type: 'strategic', body }, { subresource: 'status' }));
  }

  #statusOf(pod: Pod, at: string): object {
    const time = at.replace(/\.\d+Z$/, 'Z');
    const ip = this.#options.addressOf(pod);
    return {
      phase: 'Running',
      hostIP: this.#options.agentOf(pod.spec.nodeName ?? '')?.node.address,
      podIP: ip,
      podIPs: [{ ip }],
      startTime: time,
      conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({
        type,
        status: 'True',
        lastTransitionTime: time,
      })),
      containerStatuses: pod.spec.containers.map((container) => containerStatus(pod, container, time)),
    };
  }
}

function containerStatus({ metadata }: Pod, { name, image = '' }: Container, startedAt: string): object {
  return {
    name,
    image,
    imageID: `${image.replace(/:[^:/]*$/, '')}@${digest}`,
    containerID: `containerd://${metadata.uid}-${name}`,
    ready: true,
    started: true,
    restartCount: 0,
    state: { running: { startedAt } },
  };
}

async function unlessGone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof KubeError && (error.isNotFound || error.isConflict))) throw error;
  }
}
