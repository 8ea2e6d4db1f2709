import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import { KubeClient, type KubeClientOptions } from '../../src/kube/client.ts';
import { configOf, type KubeConfig } from '../../src/kube/config.ts';
import type { KeyPair } from '../../src/kube/key-pair.ts';
import { customResourceDefinitions, namespaces } from '../../src/kube/resources.ts';
import type { KubeObject } from '../../src/kube/types.ts';
import { issue, newAuthority } from '../../src/kube/x509.ts';
import { findBinaries } from './binaries.ts';
import { Janitor } from './janitor.ts';
import { freePort, Service } from './service.ts';

export interface ApiServerOptions {
  /** More arguments for kube-apiserver; of the directory in which the files are. */
  arguments?: string[] | ((directory: string) => string[]);
  /** Files that the arguments name: name → content. */
  files?: Record<string, string>;
}

/**
 * Starts etcd and kube-apiserver with RBAC, in a directory of their own. No controllers run: nothing creates
 * ServiceAccounts (pods do without, that admission plug-in is off), nothing deletes what a namespace holds, no events
 * of others disturb.
 *
 * Everything ends and goes with `stop`, and also when the test run fails or is killed.
 */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const binaries = await findBinaries();
  const directory = await mkdtemp(join(tmpdir(), 'podferry-api-'));
  const janitor = new Janitor(directory);
  try {
    const at = (file: string) => join(directory, file);
    const more = typeof options.arguments === 'function' ? options.arguments(directory) : (options.arguments ?? []);
    const [port, client, peer] = [await freePort(), await freePort(), await freePort()];
    const authority = await newAuthority('integration tests', validity());
    const names = { dnsNames: ['localhost', 'kubernetes.default.svc'], ipAddresses: ['127.0.0.1'] };
    const serving = await issue(authority, { commonName: 'kube-apiserver', ...names, usages: ['serverAuth'], ...validity() });
    const accounts = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const files: Record<string, string> = {
      'ca.crt': authority.cert,
      'server.crt': serving.cert,
      'server.key': serving.key,
      'accounts.key': accounts.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      'accounts.pub': accounts.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      ...options.files,
    };
    for (const [name, content] of Object.entries(files)) await writeFile(at(name), content, { mode: 0o600 });

    const etcdUrl = `http://127.0.0.1:${client}`;
    const peerUrl = `http://127.0.0.1:${peer}`;
    const etcd = new Service(janitor, at('etcd.log'), binaries.etcd, [
      `--data-dir=${at('etcd')}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      // The data need not survive the machine.
      '--unsafe-no-fsync',
      '--log-level=warn',
    ]);
    const api = new Service(janitor, at('kube-apiserver.log'), binaries.kubeApiserver, [
      `--etcd-servers=${etcdUrl}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${port}`,
      `--client-ca-file=${at('ca.crt')}`,
      `--tls-cert-file=${at('server.crt')}`,
      `--tls-private-key-file=${at('server.key')}`,
      `--service-account-key-file=${at('accounts.pub')}`,
      `--service-account-signing-key-file=${at('accounts.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      '--service-cluster-ip-range=10.0.0.0/24',
      // 127.0.0.1 is no address that an endpoint of the "kubernetes" service may have.
      '--endpoint-reconciler-type=none',
      '--authorization-mode=RBAC',
      '--disable-admission-plugins=ServiceAccount',
      '--allow-privileged=true',
      '--profiling=false',
      ...more,
    ]);
    const server = new ApiServer({ directory, janitor, etcd, api, url: `https://127.0.0.1:${port}`, authority });
    etcd.start();
    api.start();
    await server.writeKubeconfig();
    await server.waitUntilReady();
    return server;
  } catch (error) {
    await janitor.finish();
    throw error;
  }
}

interface Parts {
  directory: string;
  janitor: Janitor;
  etcd: Service;
  api: Service;
  url: string;
  authority: KeyPair;
}

export class ApiServer {
  readonly url: string;
  readonly directory: string;
  /** A kubeconfig of the administrator, for programs. */
  readonly kubeconfig: string;
  /** The administrator (group system:masters). */
  #admin: KubeClient | undefined;
  readonly #parts: Parts;
  readonly #clients = new Set<KubeClient>();
  readonly #programs: Service[] = [];

  constructor(parts: Parts) {
    this.#parts = parts;
    this.url = parts.url;
    this.directory = parts.directory;
    this.kubeconfig = join(parts.directory, 'kubeconfig');
  }

  get client(): KubeClient {
    if (!this.#admin) throw new Error('the API server is not ready yet');
    return this.#admin;
  }

  /** PEM of the CA that signed the API server's certificate. */
  get ca(): string {
    return this.#parts.authority.cert;
  }

  /** How to be this user: by a client certificate, its name the user, its organizations the groups. */
  async configFor(user: string, groups: string[] = []): Promise<KubeConfig> {
    const pair = await issue(this.#parts.authority, { commonName: user, organizations: groups, usages: ['clientAuth'], ...validity() });
    return configOf({ server: this.url, ca: this.ca, ...pair });
  }

  /** A client of its own connections; closed with the server. */
  async clientFor(user: string, groups: string[] = [], options: KubeClientOptions = {}): Promise<KubeClient> {
    const client = new KubeClient(await this.configFor(user, groups), options);
    this.#clients.add(client);
    return client;
  }

  /** The path of a kubeconfig of this user, for programs. */
  async kubeconfigFor(user: string, groups: string[] = []): Promise<string> {
    const file = join(this.directory, `${user.replaceAll(':', '-')}.kubeconfig`);
    await writeFile(file, (await this.configFor(user, groups)).exportConfig(), { mode: 0o600 });
    return file;
  }

  /** A program beside the API server, not started yet; ended with it. Its log lies in the directory. */
  program(name: string, command: string, args: string[], environment: Record<string, string> = {}): Service {
    const service = new Service(this.#parts.janitor, join(this.directory, `${name}.log`), command, args, environment);
    this.#programs.push(service);
    return service;
  }

  /** How the logs of those programs end, for messages. */
  tails(lines: number): string {
    return this.#programs.map((program) => `${program.log}${program.running ? '' : ' (ended)'}:\n${program.tail(lines)}`).join('\n');
  }

  /** Of kube-apiserver. */
  get pid(): number | undefined {
    return this.#parts.api.pid;
  }

  async writeKubeconfig(): Promise<void> {
    const config = await this.configFor('admin', ['system:masters']);
    await writeFile(this.kubeconfig, config.exportConfig(), { mode: 0o600 });
    this.#admin = new KubeClient(config);
    this.#clients.add(this.#admin);
  }

  /** @throws Error with the end of the log of whatever ended, or after 60 s */
  async waitUntilReady(): Promise<void> {
    const until = performance.now() + 60_000;
    for (;;) {
      for (const service of [this.#parts.etcd, this.#parts.api]) {
        if (!service.running) throw new Error(`${service.log} ends with:\n${service.tail()}`);
      }
      // Errors are what is waited out here.
      const answer = await this.client.request({ method: 'GET', path: '/readyz', deadline: 2000, retry: false }).catch(() => undefined);
      if (answer === 'ok') return;
      if (performance.now() > until)
        throw new Error(`kube-apiserver is not ready after 60 s; its log ends with:\n${this.#parts.api.tail()}`);
      await sleep(100);
    }
  }

  /** kill -9 of kube-apiserver; etcd goes on. */
  async kill(): Promise<void> {
    await this.#parts.api.kill();
  }

  /** Starts it after `kill`, same data, same port. */
  async start(): Promise<void> {
    this.#parts.api.start();
    await this.waitUntilReady();
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** Stops kube-apiserver where it stands: connections stay open and nothing answers. */
  async pause(): Promise<void> {
    await this.#parts.api.pause();
  }

  resume(): void {
    this.#parts.api.resume();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.kill()));
    for (const client of this.#clients) await client.close();
    await this.#parts.api.kill();
    await this.#parts.etcd.kill();
    await this.#parts.janitor.finish();
  }

  /** A namespace of a name that nobody else has. */
  async createNamespace(prefix: string, labels: Record<string, string> = {}): Promise<string> {
    const name = `${prefix}-${randomBytes(4).toString('hex')}`;
    await this.client.create(namespaces, { metadata: { name, labels } });
    return name;
  }

  /** Server-side apply of every document of the YAML files, in order. */
  async applyManifests(files: string[]): Promise<void> {
    for (const file of files) {
      const documents = parseAllDocuments(await readFile(file, 'utf8')).map((document) => document.toJS() as KubeObject | null);
      for (const object of documents) {
        if (!object) continue;
        await this.apply(object).catch((error: unknown) => {
          throw new Error(`${file}: ${object.kind} ${object.metadata?.name}`, { cause: error });
        });
      }
    }
  }

  /** Server-side apply of one object, whatever its kind; the API server says where that kind lives. */
  async apply(object: KubeObject): Promise<void> {
    const { apiVersion = '', kind = '' } = object;
    const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const answer = (await this.client.request({ method: 'GET', path: base })) as {
      resources: { name: string; kind: string; namespaced: boolean }[];
    };
    const found = answer.resources.find((candidate) => candidate.kind === kind && !candidate.name.includes('/'));
    if (!found) throw new Error(`the API server has no ${kind} in ${apiVersion}`);
    const [group = '', version = ''] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
    const { name, namespace = 'default' } = object.metadata;
    await this.client.patch(
      { group, version, plural: found.name, kind, namespaced: found.namespaced },
      found.namespaced ? { name, namespace } : { name },
      { type: 'apply', body: object, force: true },
      { fieldManager: 'podferry-tests' },
    );
  }

  /** Until a CustomResourceDefinition is served (`PLURAL.GROUP`). @throws Error after 20 s */
  async waitForCrd(name: string): Promise<void> {
    await eventually(async () => {
      const { status } = await this.client.get(customResourceDefinitions, { name });
      const established = status?.conditions?.find((condition) => condition.type === 'Established');
      if (established?.status !== 'True') throw new Error(`CRD ${name} is not established: ${JSON.stringify(status?.conditions)}`);
      // Established comes a moment before the paths are served everywhere.
      const [plural, ...group] = name.split('.');
      const { spec } = await this.client.get(customResourceDefinitions, { name });
      await this.client.request({
        method: 'GET',
        path: `/apis/${group.join('.')}/${spec.versions[0]?.name}/${plural}`,
        query: { limit: 1 },
      });
    }, 20_000);
  }
}

/** Tries until it does not throw; after so many milliseconds throws what it threw last. */
export async function eventually<T>(check: () => T | Promise<T>, milliseconds = 10_000): Promise<T> {
  const until = performance.now() + milliseconds;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > until) throw error;
      await sleep(50);
    }
  }
}

function validity() {
  return { notBefore: new Date(Date.now() - 3600_000), notAfter: new Date(Date.now() + 24 * 3600_000) };
}
