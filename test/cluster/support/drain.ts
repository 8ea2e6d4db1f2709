import { execFile } from 'node:child_process';
import { join } from 'node:path';
import type { MigrationPolicy } from '../../../src/api/policy.ts';
import { migrationPolicies } from '../../../src/kube/resources.ts';
import { cluster } from './cluster.ts';
import { kubectl, labDirectory } from './lab.ts';
import { until } from './until.ts';

export interface Run {
  /** What it has written so far, to standard output and error. */
  said(): string;
  /** Its exit code. */
  ended: Promise<number>;
  /** Ctrl-C. */
  interrupt(): void;
}

const running = new Set<() => void>();

/** Ctrl-C of all that still run, so that a drain of a test that failed does not go on under the next. */
export function interruptAll(): void {
  for (const interrupt of running) interrupt();
}

/** Stock kubectl as cluster admin, under way. */
export function start(...args: string[]): Run {
  const said: string[] = [];
  const child = execFile(join(labDirectory, 'kubectl'), args);
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text: string) => said.push(text));
  const interrupt = () => {
    child.kill('SIGINT');
  };
  running.add(interrupt);
  const ended = new Promise<number>((resolve) => {
    child.on('close', (code) => {
      running.delete(interrupt);
      resolve(code ?? -1);
    });
  });
  return { said: () => said.join(''), ended, interrupt };
}

/** Stock kubectl to its end: exit code and all that it wrote. */
export async function outcome(...args: string[]): Promise<[number, string]> {
  const run = start(...args);
  return [await run.ended, run.said()];
}

/** Flags with which a drain takes everything. */
export const everything = ['--ignore-daemonsets', '--delete-emptydir-data', '--force'];

export async function createPolicy(name: string, spec: MigrationPolicy['spec']): Promise<void> {
  const client = await cluster();
  await client.create(migrationPolicies, { apiVersion: 'podferry.io/v1alpha1', kind: 'MigrationPolicy', metadata: { name }, spec });
}

/** Nodes take pods again: also by their taints, which the node lifecycle controller takes off a moment after kubectl has said so. */
export async function uncordon(...names: string[]): Promise<void> {
  await kubectl('uncordon', ...names);
  const taints = ['get', 'node', ...names, '-o', 'jsonpath={..spec.taints}'];
  await until(`${names.join(' and ')} take pods`, async () => ((await kubectl(...taints)).includes('unschedulable') ? undefined : true));
}

/** Policies of a test file; those of these names go before it and after it, and the nodes take pods again. */
export function usePolicies(...names: string[]): void {
  const remove = async () => {
    await kubectl('delete', 'migrationpolicy', ...names, '--ignore-not-found');
    await uncordon('node-a', 'node-b');
  };
  beforeAll(remove);
  afterAll(remove);
}
