import { isReady } from '../../../src/api/pod.ts';
import { events, type KubeEvent, type Migration, migrations, namespaces, type Pod, pods } from '../../../src/kube/resources.ts';
import type { Draft, KubeObject, Resource } from '../../../src/kube/types.ts';
import { cluster } from './cluster.ts';
import { handle } from './lab.ts';
import { until } from './until.ts';

/** On every namespace of the tests, so that a run that was cut off is cleaned up by the next. */
const testLabel = 'podferry.io/test';

/**
 * A namespace for the tests of a file, enabled for podferry; removed with all that is in it at the end.
 * Call it at the top of a file or a `describe`.
 */
export function useNamespace(name: string): Space {
  return useNamespaces(name)[0] as Space;
}

/** Several of them, made and removed together. */
export function useNamespaces(...names: string[]): Space[] {
  const spaces = names.map((name) => new Space(name));
  const all = (work: (space: Space) => Promise<unknown>) => Promise.all(spaces.map(work));
  beforeAll(() =>
    all(async (space) => {
      await space.remove();
      await handle('namespace', space.name);
      const client = await cluster();
      await client.patch(namespaces, { name: space.name }, { type: 'merge', body: { metadata: { labels: { [testLabel]: 'true' } } } });
    }),
  );
  afterAll(() => all((space) => space.remove()));
  return spaces;
}

/** What tests do in their namespace. */
export class Space {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Creates a namespaced object given as YAML would have it. */
  async create<T extends KubeObject>(object: {
    apiVersion: string;
    kind: string;
    metadata: { name: string; [field: string]: unknown };
    [field: string]: unknown;
  }): Promise<T> {
    return (await (
      await cluster()
    ).create(resourceOf(object), { ...object, metadata: { ...object.metadata, namespace: this.name } } as Draft<KubeObject>)) as T;
  }

  async remove(): Promise<void> {
    const client = await cluster();
    if (!(await client.find(namespaces, { name: this.name }))) return;
    await client.delete(namespaces, { name: this.name });
    await until(
      `namespace ${this.name} is gone`,
      async () => ((await client.find(namespaces, { name: this.name })) ? undefined : true),
      80_000,
    );
  }

  async pod(name: string): Promise<Pod> {
    return (await cluster()).get(pods, { namespace: this.name, name });
  }

  async findPod(name: string): Promise<Pod | undefined> {
    return (await cluster()).find(pods, { namespace: this.name, name });
  }

  async pods(labelSelector?: string): Promise<Pod[]> {
    return (await (await cluster()).list(pods, { namespace: this.name, labelSelector })).items;
  }

  /** The pod once it is Ready. */
  ready(name: string, limit = 30_000): Promise<Pod> {
    return until(
      `pod ${this.name}/${name} is Ready`,
      async () => {
        const pod = await this.pod(name);
        if (pod.metadata.deletionTimestamp) throw new Error('it is being deleted');
        if (isReady(pod)) return pod;
        throw new Error(`it is ${pod.status?.phase} on ${pod.spec.nodeName}: ${containerStates(pod)}`);
      },
      limit,
    );
  }

  /** All pods with that label, once there are `count` and they are Ready. */
  allReady(labelSelector: string, count: number, limit = 60_000): Promise<Pod[]> {
    return until(
      `${count} pods ${labelSelector} are Ready`,
      async () => {
        const found = await this.pods(labelSelector);
        const good = found.filter((pod) => !pod.metadata.deletionTimestamp && isReady(pod));
        return good.length === count && found.length === count ? good : undefined;
      },
      limit,
    );
  }

  async migration(name: string): Promise<Migration> {
    return (await cluster()).get(migrations, { namespace: this.name, name });
  }

  async migrations(): Promise<Migration[]> {
    return (await (await cluster()).list(migrations, { namespace: this.name })).items;
  }

  /** Asks for a pod to move as people do: by the annotation. The Migration that comes of it. */
  async annotate(pod: string, destination: string): Promise<Migration> {
    const client = await cluster();
    const before = new Set((await this.migrations()).map(({ metadata }) => metadata.uid));
    const body = { metadata: { annotations: { 'podferry.io/migrate-to': destination } } };
    await client.patch(pods, { namespace: this.name, name: pod }, { type: 'merge', body });
    return until(
      `a Migration of pod ${pod}`,
      async () => (await this.migrations()).find(({ metadata, spec }) => spec.pod === pod && !before.has(metadata.uid)),
      10_000,
    );
  }

  /** A Migration object, as a controller or `kubectl create` would make it. */
  async migrate(name: string, spec: Migration['spec']): Promise<Migration> {
    return this.create({ apiVersion: 'podferry.io/v1alpha1', kind: 'Migration', metadata: { name }, spec });
  }

  /**
   * The Migration once it has come to its end.
   *
   * @param limit, every milliseconds
   */
  finished({ metadata: { name } }: { metadata: { name: string } }, limit = 60_000, every = 100): Promise<Migration> {
    let last: Migration | undefined;
    return until(
      `Migration ${name} ends`,
      async () => {
        last = await this.migration(name);
        const { phase } = last.status ?? {};
        if (phase === 'Succeeded' || phase === 'Failed') return last;
        throw new Error(`it is ${phase}: ${readyMessage(last)}`);
      },
      limit,
      every,
    );
  }

  /** The Migration, which must have succeeded. */
  async succeeded(migration: { metadata: { name: string } }, limit?: number, every?: number): Promise<Migration> {
    const end = await this.finished(migration, limit, every);
    if (end.status?.phase !== 'Succeeded') throw new Error(`Migration ${end.metadata.name} ${end.status?.phase}: ${readyMessage(end)}`);
    return end;
  }

  /** Events about an object, as `REASON message`. */
  async events(kind: string, name: string): Promise<string[]> {
    const { items } = await (await cluster()).list(events, { namespace: this.name });
    return items
      .filter((event: KubeEvent) => event.regarding?.kind === kind && event.regarding.name === name)
      .map((event: KubeEvent) => `${event.reason} ${event.note}`);
  }
}

function containerStates({ status }: Pod): string {
  return (status?.containerStatuses ?? []).map(({ name, state }) => `${name} ${JSON.stringify(state)}`).join(', ');
}

export function readyMessage(migration: Migration): string {
  return migration.status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? '';
}

const plurals: Record<string, string> = {
  Service: 'services',
  ConfigMap: 'configmaps',
  PersistentVolumeClaim: 'persistentvolumeclaims',
  Migration: 'migrations',
  StatefulSet: 'statefulsets',
  DaemonSet: 'daemonsets',
  Role: 'roles',
  RoleBinding: 'rolebindings',
};

function resourceOf(object: { apiVersion: string; kind: string }): Resource {
  const [group, version] = object.apiVersion.includes('/') ? (object.apiVersion.split('/') as [string, string]) : ['', object.apiVersion];
  return { group, version, kind: object.kind, plural: plurals[object.kind] ?? `${object.kind.toLowerCase()}s`, namespaced: true };
}
