import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * What CRIU is to do beyond what the runtimes ask of it (runc reads `/etc/criu/runc.conf` for checkpoint and restore):
 * open connections are closed on the target instead of failing the dump, and files that were deleted while open are
 * taken along. Options of CRIU 3.19 or later.
 */
const options: Record<string, { value?: string; why: string }> = {
  'tcp-established': { why: 'connections that are open when the pod freezes' },
  'skip-in-flight': { why: 'connections that nobody has accepted yet' },
  'tcp-close': { why: 'restored connections are closed; the address of the pod is another one' },
  // A dump during which the process is killed leaves its DROP rules in the pod's network namespace (measured, CRIU 4.2.1;
  // checkpoint-restore/criu#2828 for restores): the container that is started again there can never be reached.
  'network-lock': { value: 'skip', why: 'with tcp-close there is nothing to protect, and a lock may be left behind' },
  'link-remap': { why: 'files that were deleted while they were open' },
};

/**
 * Adds to the node's CRIU configuration the options that are missing; what an administrator wrote stays.
 *
 * @param hook path of the script to be run (`criu-hook.ts`), if any
 * @returns the options that were added
 */
export async function ensureCriuConfig(path: string, hook: string | undefined): Promise<string[]> {
  let text = '';
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const hookOption = `action-script ${hook}`;
  const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  const present = new Set(lines.map((line) => line.split(/\s+/)[0]));
  const missing = Object.entries(options)
    .filter(([option]) => !present.has(option))
    .map(([option, { value, why }]) => ({ option, line: [option, value].filter(Boolean).join(' '), why }));
  // There may be several, an administrator's too.
  if (hook && !lines.includes(hookOption))
    missing.push({ option: 'action-script', line: hookOption, why: 'memory that lies beside a checkpoint is linked into it' });
  if (missing.length === 0) return [];
  const added = missing.map(({ line, why }) => `# podferry: ${why}\n${line}\n`).join('');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.podferry`, `${text}${text && !text.endsWith('\n') ? '\n' : ''}${added}`, { mode: 0o644 });
  await rename(`${path}.podferry`, path);
  return missing.map(({ option }) => option);
}
