import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * What CRIU is to do beyond what the runtimes ask of it (runc reads `/etc/criu/runc.conf` for checkpoint and restore):
 * open connections are closed on the target instead of failing the dump, and files that were deleted while open are
 * taken along.
 */
const options: Record<string, string> = {
  'tcp-established': 'connections that are open when the pod freezes',
  'skip-in-flight': 'connections that nobody has accepted yet',
  'tcp-close': 'restored connections are closed; the address of the pod is another one',
  'link-remap': 'files that were deleted while they were open',
};

/**
 * Adds to the node's CRIU configuration the options that are missing; what an administrator wrote stays.
 *
 * @returns the options that were added
 */
export async function ensureCriuConfig(path: string): Promise<string[]> {
  let text = '';
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const present = new Set(text.split('\n').map((line) => line.replace(/#.*/, '').trim().split(/\s+/)[0]));
  const missing = Object.keys(options).filter((option) => !present.has(option));
  if (missing.length === 0) return [];
  const added = missing.map((option) => `# podferry: ${options[option]}\n${option}\n`).join('');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.podferry`, `${text}${text && !text.endsWith('\n') ? '\n' : ''}${added}`, { mode: 0o644 });
  await rename(`${path}.podferry`, path);
  return missing;
}
