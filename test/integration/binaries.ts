import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Binaries {
  kubeApiserver: string;
  etcd: string;
}

const lab = join(import.meta.dirname, '../lab/env');

/** Where kube-apiserver and etcd are: as PODFERRY_LAB_BIN and PODFERRY_ETCD say, else what the lab has built. */
export async function findBinaries(): Promise<Binaries> {
  const { PODFERRY_LAB_BIN: directory, PODFERRY_ETCD: givenEtcd } = process.env;
  const built = directory && givenEtcd ? {} : await askLab();
  const binaries = directory || built.binaries;
  const etcd = givenEtcd || (built.root && join(built.root, 'usr/bin/etcd'));
  const kubeApiserver = binaries && join(binaries, 'kube-apiserver');
  if (!kubeApiserver || !etcd) throw new Error(`${lab} does not say where the cluster's binaries are; ${advice}`);
  for (const file of [kubeApiserver, etcd]) {
    if (!(await isExecutable(file))) throw new Error(`integration tests need ${file}, which is not there; ${advice}`);
  }
  return { kubeApiserver, etcd };
}

const advice =
  'run "make lab" once (it builds and caches them), or set PODFERRY_LAB_BIN (a directory with kube-apiserver) and PODFERRY_ETCD (the program etcd)';

async function askLab(): Promise<{ binaries?: string; root?: string }> {
  try {
    const { stdout } = await promisify(execFile)(lab, ['-o', 'json'], { timeout: 20_000 });
    return JSON.parse(stdout) as { binaries?: string; root?: string };
  } catch (error) {
    throw new Error(
      `integration tests need kube-apiserver and etcd, and ${lab} cannot say where they are; set PODFERRY_LAB_BIN and PODFERRY_ETCD`,
      {
        cause: error,
      },
    );
  }
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
