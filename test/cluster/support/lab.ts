import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);
export const labDirectory = join(import.meta.dirname, '../../lab');

export interface Lab {
  stateDirectory: string;
  binaries: string;
  root: string;
  kubeconfig: string;
  registry: string;
  registryAddress: string;
  registryAuth: string;
  ca: string;
  /** On every node from the start; needs no pull. */
  pauseImage: string;
  nodes: { name: string; address: string }[];
}

let facts: Promise<Lab> | undefined;

/** Where the things of the running lab are (`test/lab/env`). */
export function lab(): Promise<Lab> {
  facts ??= handle('env', '-o', 'json').then((text) => JSON.parse(text) as Lab);
  return facts;
}

/** Runs a handle of test/lab; its standard output. @throws Error with what it wrote to standard error */
export async function handle(name: string, ...args: string[]): Promise<string> {
  try {
    const { stdout } = await exec(join(labDirectory, name), args, { maxBuffer: 64 << 20, timeout: 180_000 });
    return stdout;
  } catch (error) {
    const { stderr, stdout, message } = error as Error & { stderr?: string; stdout?: string };
    throw new Error(`test/lab/${name} ${args.join(' ')}: ${(stderr || stdout || message).trim()}`, { cause: error });
  }
}

/** kubectl as cluster admin. */
export const kubectl = (...args: string[]) => handle('kubectl', ...args);

/** A command inside a node's namespaces. */
export const onNode = (node: string, ...command: string[]) => handle('node', node, ...command);

export const service = (node: string, verb: 'start' | 'stop' | 'kill' | 'restart', name: string) => handle('service', node, verb, name);

/** A program of the host; its standard output. */
export async function host(program: string, ...args: string[]): Promise<string> {
  return (await exec(program, args, { maxBuffer: 64 << 20 })).stdout;
}
