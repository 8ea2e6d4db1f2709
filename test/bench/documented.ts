import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import type { Pod } from '../../src/api/pod.ts';
import { pods } from '../../src/kube/resources.ts';
import { cluster } from '../cluster/support/cluster.ts';
import { handle, lab, onNode } from '../cluster/support/lab.ts';
import type { Space } from '../cluster/support/space.ts';
import type { Cell } from './cells.ts';
import { NodeShell } from './node-shell.ts';
import { containerOn, destination, portsOf, remove, source, specOf } from './pods.ts';
import type { Moved, Mover } from './trial.ts';

const repository = 'bench/checkpoint';

/** What buildah needs where limits may not be raised and no user namespaces are wanted; everything else is as it comes. */
const buildahEnvironment = 'export STORAGE_DRIVER=overlay BUILDAH_ISOLATION=chroot';

/**
 * As Kubernetes documents it (Kubelet Checkpoint API; the article "Forensic container checkpointing"): the kubelet checkpoints
 * each container, buildah makes an image of each archive on that node and pushes it, and a pod with these images is
 * created on the other node. The source is deleted as soon as the last archive is there: what it did from then on would
 * be lost with it.
 */
export class DocumentedWay implements Mover {
  readonly #space: Space;
  readonly #shell = new NodeShell(source);
  #made = 0;

  constructor(space: Space) {
    this.#space = space;
  }

  async prepare(): Promise<void> {
    await this.#shell.run(
      'mkdir -p /etc/containers\n[ -e /etc/containers/policy.json ] || echo \'{"default":[{"type":"insecureAcceptAnything"}]}\' >/etc/containers/policy.json',
    );
  }

  async move(pod: Pod, cell: Cell): Promise<Moved> {
    const { registry } = await lab();
    const client = await cluster();
    const { name } = pod.metadata;
    const times = { add: 0, commit: 0, push: 0 };
    const asked = Date.now();
    const archives: { container: string; archive: string; image: string }[] = [];
    for (const port of portsOf(cell)) {
      const archive = await checkpoint(this.#space.name, name, containerOn(port));
      archives.push({ container: containerOn(port), archive, image: `${registry}/${repository}:${name}-${port}-${++this.#made}` });
    }
    const checkpointed = Date.now();
    const deletion = client.delete(pods, { namespace: this.#space.name, name }, { gracePeriodSeconds: 0 });
    deletion.catch(() => undefined);
    for (const { container, archive, image } of archives) {
      const run = async (script: string) => this.#shell.run(`${buildahEnvironment}\n${script}`);
      const added = await run(
        `c=$(buildah from scratch)\nbuildah add --quiet "$c" ${archive} / >/dev/null\nbuildah config --annotation=org.criu.checkpoint.container.name=${container} "$c"\nbuildah config --annotation=io.kubernetes.cri-o.annotations.checkpoint.name=${container} "$c"\necho "$c"`,
      );
      times.add += added.milliseconds;
      times.commit += (await run(`buildah commit --quiet ${added.output} ${image} >/dev/null`)).milliseconds;
      const push = `buildah push --quiet --authfile /lab/pki/registry-auth.json --cert-dir /lab/registry-ca ${image} docker://${image}`;
      times.push += (await run(push)).milliseconds;
    }
    const spec = await specOf(cell);
    const containers = spec.containers.map((container) => ({
      ...container,
      image: archives.find((archive) => archive.container === container.name)?.image,
    }));
    const created = Date.now();
    const target = await this.#space.create<Pod & { metadata: { name: string } }>({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `${name}-restored` },
      spec: { ...spec, nodeName: destination, containers },
    });
    return {
      // The state is that of the checkpoint; what the source answered from then on is not in it.
      cutoff: asked,
      marks: [{ name: 'checkpoint', at: checkpointed }],
      spent: Object.entries(times).map(([part, milliseconds]) => ({ name: part, milliseconds })),
      created: async () => created,
      target: async () => target,
      end: async () => {
        await deletion;
        await this.#space.ready(target.metadata.name, 120_000);
      },
      cleanUp: async () => {
        await remove(this.#space, target.metadata.name);
        await this.cleanUp();
      },
    };
  }

  /** Archives, buildah's images and containers, the destination's copies and the registry's; also of an earlier run. */
  async cleanUp(): Promise<void> {
    await sweepDocumentedWay(this.#space.name, this.#shell);
  }

  close(): void {
    this.#shell.close();
  }
}

/** Removes what this way leaves behind. */
export async function sweepDocumentedWay(namespace: string, shell: NodeShell): Promise<void> {
  await shell.run(
    // One that an interrupted run was in the midst of would finish after this.
    `for i in $(seq 600); do pgrep -x buildah >/dev/null || break; sleep 0.1; done\n${buildahEnvironment}\nbuildah rm --all >/dev/null 2>&1 || true\nbuildah rmi --all --force >/dev/null 2>&1 || true\nrm -f /var/lib/kubelet/checkpoints/checkpoint-*_${namespace}-*.tar`,
  );
  await removeImages(destination, repository);
  await onNode(
    'control',
    'sh',
    '-c',
    `[ ! -e /lab/registry/docker/registry/v2/repositories/${repository} ] || { rm -rf /lab/registry/docker/registry/v2/repositories/${repository}; docker-registry garbage-collect /lab/registry.yaml >/dev/null 2>&1; }`,
  );
}

/**
 * Takes images whose names contain these words out of a node's containerd, and what the CRI calls them besides, by their
 * configuration's digest: with that alone all of their content would stay. Not while a container is made of one: its snapshots would stay
 * without the content, and containerd fetches no layer whose snapshot is there, so that the next pull would leave an image that lacks it.
 */
export async function removeImages(node: string, words: string): Promise<void> {
  const chosen =
    'index($1, words) { print $1; gone[$3] } $1 ~ /^sha256:/ { alias[$1] = $3; next } !index($1, words) { kept[$3] } END { for (name in alias) if (alias[name] in gone && !(alias[name] in kept)) print name }';
  const used = `ctr -n k8s.io containers ls | awk -v words='${words}' 'index($2, words) { found = 1 } END { exit !found }'`;
  const script = `for try in $(seq 60); do ${used} || break; sleep 0.5; done; ctr -n k8s.io images ls | awk -v words='${words}' '${chosen}' | xargs -r ctr -n k8s.io images rm --sync >/dev/null`;
  await handle('node', node, 'sh', '-c', script);
}

/** `POST /checkpoint/NAMESPACE/POD/CONTAINER` of the source's kubelet; path of the archive. */
async function checkpoint(namespace: string, pod: string, container: string): Promise<string> {
  const { stateDirectory, nodes } = await lab();
  const read = (file: string) => readFile(join(stateDirectory, 'pki', file));
  const [ca, cert, key] = await Promise.all([read('ca.crt'), read('admin.crt'), read('admin.key')]);
  const host = nodes.find(({ name }) => name === source)?.address ?? '';
  const text = await new Promise<string>((resolve, reject) => {
    const path = `/checkpoint/${namespace}/${pod}/${container}?timeout=3600`;
    const call = request({ host, port: 10_250, method: 'POST', path, ca, cert, key, servername: source, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (data: string) => {
        body += data;
      });
      response.on('end', () =>
        response.statusCode === 200 ? resolve(body) : reject(new Error(`the kubelet answered ${response.statusCode}: ${body.trim()}`)),
      );
    });
    call.on('error', reject).end();
  });
  const archive = (JSON.parse(text) as { items: string[] }).items[0];
  if (!archive) throw new Error(`the kubelet named no archive: ${text}`);
  return archive;
}
