import type { MigrationPolicy } from '../api/policy.ts';
import { KubeClient } from '../kube/client.ts';
import { loadConfig } from '../kube/config.ts';
import { onlyOf, previewNode } from '../plan/policy/preview.ts';
import { messageOf } from '../util/errors.ts';
import { gather } from './gather.ts';
import { type Format, triggerWords } from './options.ts';
import { isFile, readPolicy } from './policy-file.ts';
import { print, summary } from './print.ts';

export interface PreviewOptions {
  /** The name of one, or a file with one. */
  policy?: string;
  trigger: keyof typeof triggerWords;
  output: Format;
  kubeconfig?: string;
  context?: string;
}

/**
 * `podferry preview NODE`: what policies would do to its pods now. Reads only.
 *
 * @returns the exit code: 0, or 1 after one sentence on standard error
 */
export async function preview(nodeName: string, options: PreviewOptions): Promise<number> {
  let client: KubeClient | undefined;
  try {
    const given = options.policy !== undefined && isFile(options.policy) ? await readPolicy(options.policy) : undefined;
    client = new KubeClient(loadConfig(options), { userAgent: 'podferry-preview' });
    const input = await gather(client, nodeName, triggerWords[options.trigger], Date.now());
    const policies = given ? withPolicy(input.policies, given) : input.policies;
    const name = given?.metadata.name ?? options.policy;
    if (name !== undefined && !policies.some(({ metadata }) => metadata.name === name)) throw new Error(missing(name, policies));
    const all = previewNode({ ...input, policies });
    const shown = name === undefined ? all : onlyOf(all, name);
    // A pipe has no colours, nor a terminal with NO_COLOR.
    process.stdout.write(print(shown, options.output, process.stdout.isTTY && process.stdout.hasColors()));
    if (options.output === 'table') process.stderr.write(`${summary(shown, nodeName)}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`podferry preview: ${messageOf(error).replaceAll('\n', ' ')}\n`);
    return 1;
  } finally {
    await client?.close();
  }
}

/** As if it was applied: it takes the place of one of its name. */
function withPolicy(policies: readonly MigrationPolicy[], given: MigrationPolicy): MigrationPolicy[] {
  return [...policies.filter(({ metadata }) => metadata.name !== given.metadata.name), given];
}

function missing(name: string, policies: readonly MigrationPolicy[]): string {
  const known = policies.map(({ metadata }) => metadata.name).join(', ');
  return `there is no MigrationPolicy ${name} in the cluster (${known ? `there are: ${known}` : 'there is none'}); a file is named by its path, as ./${name}.yaml`;
}
