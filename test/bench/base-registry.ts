import { type ChildProcess, spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lab, lab, labDirectory, onNode } from '../cluster/support/lab.ts';
import { until } from '../cluster/support/until.ts';

const port = 5001;

/**
 * The lab's images once more at `localhost:5001` of every node, over plain HTTP and without a password, read-only. At a restore
 * containerd fetches the base image that the checkpoint names without credentials, without the lab's CA and without
 * its configuration of registries (facts of containerd 2.1); the documented way would fail with the lab's registry.
 */
export class BaseRegistry {
  readonly #processes: ChildProcess[] = [];

  /** Serves until it is closed, or this process ends. */
  async start(): Promise<void> {
    const { stateDirectory, nodes } = await lab();
    const config = {
      version: '0.1',
      log: { level: 'warn' },
      storage: { filesystem: { rootdirectory: '/lab/registry' }, maintenance: { readonly: { enabled: true } } },
      http: { addr: `10.99.0.1:${port}` },
    };
    await writeFile(join(stateDirectory, 'bench-registry.json'), JSON.stringify(config));
    this.#run('control', 'docker-registry', 'serve', '/lab/bench-registry.json');
    for (const { name } of nodes) this.#run(name, 'socat', `TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr`, `TCP:10.99.0.1:${port}`);
    for (const { name } of nodes)
      await until('the registry for base images answers', async () =>
        (await onNode(name, 'curl', '-sf', '-o', '/dev/null', '-w', '%{http_code}', `http://127.0.0.1:${port}/v2/`)) === '200'
          ? true
          : undefined,
      );
  }

  /** The reference under which it serves an image of the lab's registry. */
  static reference({ registry }: Lab, image: string): string {
    return image.replace(registry, `localhost:${port}`);
  }

  async close(): Promise<void> {
    for (const each of this.#processes) each.kill('SIGKILL');
    const { stateDirectory } = await lab();
    await rm(join(stateDirectory, 'bench-registry.json'), { force: true });
  }

  #run(node: string, ...command: string[]): void {
    this.#processes.push(spawn(join(labDirectory, 'node'), [node, ...command], { stdio: 'ignore' }));
  }
}
