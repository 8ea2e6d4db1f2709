import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { handle, host, lab } from './lab.ts';

/** Programs whose memory the tests move; each becomes an image of just what it needs (`test/lab/carve`). */
const recipes = {
  counter: { carve: [], entrypoint: ['/counter'] },
  shell: {
    carve: [
      '/bin/sh',
      '/bin/sleep',
      '/bin/cat',
      '/bin/date',
      '/bin/ls',
      '/bin/ln',
      '/bin/mkdir',
      '/usr/bin/stat',
      '/usr/bin/truncate',
      '/usr/bin/mkfifo',
      '/usr/bin/sha256sum',
      '/usr/bin/find',
      '/usr/bin/sort',
      '/usr/bin/chmod',
      '/usr/bin/chown',
      '/usr/bin/setfattr',
      '/usr/bin/getfattr',
    ],
    entrypoint: ['/bin/sh'],
  },
  redis: { carve: ['/usr/bin/redis-server', '/usr/bin/redis-cli'], entrypoint: ['/usr/bin/redis-server'] },
  node: { carve: ['--path', '/usr/share/nodejs', '/usr/bin/node'], entrypoint: ['/usr/bin/node'] },
  python: { carve: ['--path', '/usr/lib/python3*', '/usr/bin/python3'], entrypoint: ['/usr/bin/python3'] },
} as const;

export type Program = keyof typeof recipes;

const made = new Map<Program, Promise<string>>();

/** The reference of a program's image; made and pushed when this lab's registry does not have it. */
export function imageOf(program: Program): Promise<string> {
  let image = made.get(program);
  if (!image) {
    image = make(program);
    made.set(program, image);
  }
  return image;
}

async function make(program: Program): Promise<string> {
  const { root, binaries, registry, stateDirectory } = await lab();
  const { carve, entrypoint } = recipes[program];
  const key = createHash('sha256')
    .update(JSON.stringify([root, binaries, carve, entrypoint]))
    .digest('hex')
    .slice(0, 12);
  const name = `test/${program}:${key}`;
  if (await exists(join(stateDirectory, 'registry/docker/registry/v2/repositories/test', program, '_manifests/tags', key)))
    return `${registry}/${name}`;
  const directory = await mkdtemp(join(stateDirectory, 'image-'));
  try {
    if (program === 'counter') await cp(join(binaries, 'counter'), join(directory, 'counter'));
    else await handle('carve', directory, ...carve);
    await mkdir(join(directory, 'tmp'), { recursive: true });
    const output = await handle('image', name, directory, ...entrypoint);
    return output.trim().split('\n').at(-1) ?? '';
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Digest under which an image lies in the lab's registry. */
export async function digestOf(reference: string): Promise<string> {
  const { stateDirectory } = await lab();
  const [, repository = '', tag = ''] = /^[^/]+\/(.+):([^:]+)$/.exec(reference) ?? [];
  const link = join(stateDirectory, 'registry/docker/registry/v2/repositories', repository, '_manifests/tags', tag, 'current/link');
  return (await readFile(link, 'utf8')).trim();
}

/** Checkpoints that lie in the registry under a tag (transfer Registry). */
export async function checkpointsInRegistry(): Promise<string[]> {
  const { stateDirectory } = await lab();
  const found = await host('find', `${stateDirectory}/registry`, '-path', '*checkpoints*', '-path', '*_manifests/tags/*/current/link');
  return found.split('\n').filter(Boolean);
}
