import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { parseAllDocuments } from 'yaml';
import { apiVersion } from '../api/names.ts';
import { type MigrationPolicy, policySpecSchema } from '../api/policy.ts';

/** Whether `--policy` names a file: a path, something that ends as YAML and JSON do, or `-` for the standard input. */
export function isFile(given: string): boolean {
  return given === '-' || given.includes('/') || /\.(ya?ml|json)$/.test(given);
}

/** The one MigrationPolicy of a file. @throws Error that names the file */
export async function readPolicy(file: string): Promise<MigrationPolicy> {
  if (file === '-') return parsePolicy('the standard input', await text(process.stdin));
  const content = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new Error(`the policy file ${file} cannot be read`, { cause: error });
  });
  return parsePolicy(file, content);
}

/**
 * The one MigrationPolicy among the documents of a text, with the defaults that the API server would fill in.
 *
 * @param from where the text is from, for messages
 */
export function parsePolicy(from: string, content: string): MigrationPolicy {
  const objects = parseAllDocuments(content).map((document) => {
    const [error] = document.errors;
    if (error) throw new Error(`${from} is not YAML: ${error.message.split('\n')[0]}`);
    return document.toJS() as { apiVersion?: unknown; kind?: unknown; metadata?: { name?: unknown }; spec?: unknown } | null;
  });
  const found = objects.filter((object) => object?.kind === 'MigrationPolicy');
  const [policy] = found;
  if (!policy || found.length > 1) throw new Error(`${from} has ${found.length} objects of kind MigrationPolicy, and has to have one`);
  if (policy.apiVersion !== apiVersion) throw new Error(`the policy in ${from} is of ${policy.apiVersion}, and not of ${apiVersion}`);
  const name = policy.metadata?.name;
  if (typeof name !== 'string' || !name || name.length > 63)
    throw new Error(`the policy in ${from} needs a metadata.name of at most 63 characters`);
  const spec = policySpecSchema.safeParse(policy.spec);
  if (!spec.success) {
    const problems = spec.error.issues.map(({ path, message }) => `${['spec', ...path].join('.')}: ${message}`);
    throw new Error(`policy ${name} in ${from} is not valid: ${problems.join('; ')}`);
  }
  return { apiVersion, kind: 'MigrationPolicy', metadata: { name }, spec: spec.data };
}
