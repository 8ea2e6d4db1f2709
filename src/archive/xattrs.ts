import { spawn } from 'node:child_process';
import { messageOf } from '../util/errors.ts';

/** Name → value of the extended attributes of one file (POSIX ACLs and file capabilities are such too). */
export type Xattrs = ReadonlyMap<string, Buffer>;

/** Labels that belong to the node's security module, not to the file: the node gives its own. */
const ofTheNode = new Set(['security.selinux', 'security.ima', 'security.evm']);

/** Of a tar that carries them, as star, GNU tar and bsdtar write them. */
const paxPrefix = 'SCHILY.xattr.';

/** Node.js has no call for them, so `getfattr` and `setfattr` (package attr) are run, once a volume each. */
async function run(program: string, args: string[], directory: string, input?: string): Promise<{ output: string; problem?: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: directory, stdio: ['pipe', 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    // A program that ends early is told of by its exit code.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input, 'latin1');
    child.once('error', (error) => resolve({ output: '', problem: messageOf(error) }));
    child.once('close', (code) => {
      const said = Buffer.concat(errors).toString('utf8').trim();
      resolve({ output: Buffer.concat(output).toString('latin1'), ...(code === 0 ? {} : { problem: said || `exit code ${code}` }) });
    });
  });
}

/** The attributes of all files below a directory that have any, by path relative to it (`.` is the directory itself; byte strings). */
export async function readXattrs(directory: string): Promise<{ byPath: Map<string, Xattrs>; problem?: string }> {
  const { output, problem } = await run(
    'getfattr',
    ['--recursive', '--physical', '--no-dereference', '--dump', '--match=-', '--encoding=base64', '.'],
    directory,
  );
  const byPath = new Map<string, Xattrs>();
  for (const block of output.split('\n\n')) {
    const [head = '', ...lines] = block.split('\n').filter(Boolean);
    if (!head.startsWith('# file: ')) continue;
    const attributes = lines.flatMap((line): [string, Buffer][] => {
      const equals = line.indexOf('=');
      const name = equals < 0 ? line : line.slice(0, equals);
      const value = equals < 0 ? '' : line.slice(equals + 1);
      return ofTheNode.has(name) ? [] : [[unquote(name), Buffer.from(value.replace(/^0s/, ''), 'base64')]];
    });
    if (attributes.length) byPath.set(unquote(head.slice('# file: '.length)).replace(/^\.\//, ''), new Map(attributes));
  }
  return { byPath, ...(problem === undefined ? {} : { problem }) };
}

/** Sets what `readXattrs` read; whatever could not be set is told, the rest is. */
export async function writeXattrs(directory: string, byPath: ReadonlyMap<string, Xattrs>): Promise<string | undefined> {
  if (byPath.size === 0) return undefined;
  const blocks = [...byPath].map(([path, attributes]) =>
    [`# file: ${quote(path)}`, ...[...attributes].map(([name, value]) => `${quote(name)}=0s${value.toString('base64')}`), ''].join('\n'),
  );
  return (await run('setfattr', ['--no-dereference', '--restore=-'], directory, `${blocks.join('\n')}\n`)).problem;
}

export function toPax(attributes: Xattrs): [string, string][] {
  return [...attributes].map(([name, value]) => [paxPrefix + name, value.toString('latin1')]);
}

export function fromPax(records: ReadonlyMap<string, string>): Xattrs {
  return new Map(
    [...records].flatMap(([key, value]) =>
      key.startsWith(paxPrefix) ? [[key.slice(paxPrefix.length), Buffer.from(value, 'latin1')] as const] : [],
    ),
  );
}

/** As attr's own quoting (misc/quote.c): a backslash and three octal digits. */
function quote(text: string): string {
  return text.replaceAll(/[\n\r\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

function unquote(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
