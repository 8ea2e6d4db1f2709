import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Binaries {
  kubeApiserver: string;
  /** Where kube-scheduler and the other programs of Kubernetes are too. */
  directory: string;
  etcd: string;
}

const lab = join(import.meta.dirname, '../lab');
const run = promisify(execFile);

/** Where kube-apiserver and etcd are: as PODFERRY_LAB_BIN and PODFERRY_ETCD say, else what the lab has built. */
export async function findBinaries(): Promise<Binaries> {
  const { PODFERRY_LAB_BIN: directory, PODFERRY_ETCD: givenEtcd } = process.env;
  const built = directory && givenEtcd ? {} : await askLab();
  const binaries = directory || built.binaries;
  const etcd = givenEtcd || (built.root && join(built.root, 'usr/bin/etcd'));
  const kubeApiserver = binaries && join(binaries, 'kube-apiserver');
  if (!binaries || !kubeApiserver || !etcd) throw new Error(`${lab} does not say where the cluster's binaries are; ${advice}`);
  for (const file of [kubeApiserver, etcd]) {
    if (!(await isExecutable(file))) throw new Error(`integration tests need ${file}, which is not there; ${advice}`);
  }
  return { kubeApiserver, directory: binaries, etcd };
}

const advice =
  'run "make lab" once (it builds and caches them), or set PODFERRY_LAB_BIN (a directory with kube-apiserver) and PODFERRY_ETCD (the program etcd)';

interface Built {
  binaries?: string | undefined;
  root?: string | undefined;
}

/** A lab that runs says where its programs are; otherwise what its scripts would use, if it was built before. */
async function askLab(): Promise<Built> {
  try {
    const { stdout } = await run(join(lab, 'env'), ['-o', 'json'], { timeout: 20_000 });
    return JSON.parse(stdout) as Built;
  } catch {
    // It is not up; its cache is enough here.
  }
  try {
    const words = 'source "$0/lib/common.sh" && source "$0/lib/cache.sh" && cached_root && cached_kubernetes';
    const { stdout } = await run('bash', ['-c', words, lab], { timeout: 20_000, env: { ...process.env, lab_dir: lab } });
    const [root, binaries] = stdout.trim().split('\n');
    return { root, binaries };
  } catch (error) {
    throw new Error(`${lab} cannot say where kube-apiserver and etcd are; ${advice}`, { cause: error });
  }
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
