import { hasBegun, isFinished, type Migration } from '../../src/api/migration.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer, withoutManagedFields } from '../../src/kube/informer.ts';
import { migrations } from '../../src/kube/resources.ts';
import type { Limits } from './objects.ts';

export interface Seen {
  /** Most under way at once. */
  most: Limits;
  /** Each moment at which a limit was exceeded. */
  exceeded: string[];
  /** Highest queue position that was shown, and how many were shown at all. */
  highestPosition: number;
  positionsShown: number;
  /** Migrations that still waited two seconds after one from the same node began that was made two seconds later or more. */
  overtaken: number;
  succeeded: number;
  /** By reason. */
  failed: Record<string, number>;
  events: number;
  /** Mean size of a watch event's object as JSON, and of it without managedFields. */
  eventBytes: number;
  keptBytes: number;
}

/** Two that begin together are written down one after the other, on a busy machine some time apart. Milliseconds. */
const together = 2000;

/** Watches all Migrations and counts at every change of any of them. */
export class LimitsWatcher {
  readonly #informer: Informer<Migration>;
  readonly #limits: Limits;
  readonly #waiting = new Map<string, { source: string; created: number }>();
  readonly #running = new Map<string, { source: string; destination: string | undefined }>();
  readonly #sourceOf: (migration: Migration) => string;
  readonly #ended = new Set<string>();
  /** uid of those that wait while a later one has begun, and when that was. */
  readonly #passedBy = new Map<string, number>();
  readonly #bytes = { all: 0, kept: 0 };
  readonly #seen: Seen = {
    most: { perSource: 0, perDestination: 0, cluster: 0 },
    exceeded: [],
    highestPosition: 0,
    positionsShown: 0,
    overtaken: 0,
    succeeded: 0,
    failed: {},
    events: 0,
    eventBytes: 0,
    keptBytes: 0,
  };

  /** @param nodeOf where the pod that a Migration names ran before the storm */
  constructor(client: KubeClient, limits: Limits, nodeOf: (namespace: string, pod: string) => string | undefined) {
    this.#limits = limits;
    this.#sourceOf = ({ metadata, spec, status }) => status?.source?.nodeName ?? nodeOf(metadata.namespace ?? '', spec.pod) ?? '';
    this.#informer = new Informer(client, migrations, {
      transform: (migration) => {
        const kept = withoutManagedFields(migration);
        this.#bytes.all += JSON.stringify(migration).length;
        this.#bytes.kept += JSON.stringify(kept).length;
        this.#seen.events++;
        return kept;
      },
    });
    const look = (migration: Migration) => this.#look(migration);
    this.#informer.addHandlers({ add: look, update: look, delete: ({ metadata }) => this.#end(metadata.uid ?? '') });
  }

  async start(): Promise<void> {
    this.#informer.start();
    await this.#informer.waitForSync();
  }

  get finished(): number {
    return this.#ended.size;
  }

  get running(): number {
    return this.#running.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  list(): Migration[] {
    return this.#informer.list();
  }

  async stop(): Promise<Seen> {
    await this.#informer.stop();
    for (const uid of [...this.#passedBy.keys()]) this.#begins(uid);
    const { events } = this.#seen;
    return { ...this.#seen, eventBytes: Math.round(this.#bytes.all / events), keptBytes: Math.round(this.#bytes.kept / events) };
  }

  #look(migration: Migration): void {
    const { metadata, status } = migration;
    const uid = metadata.uid ?? '';
    const source = this.#sourceOf(migration);
    if (isFinished(migration)) {
      if (this.#ended.has(uid)) return;
      this.#end(uid);
      if (status?.phase === 'Succeeded') this.#seen.succeeded++;
      else this.#seen.failed[status?.failure?.reason ?? '?'] = (this.#seen.failed[status?.failure?.reason ?? '?'] ?? 0) + 1;
      return;
    }
    if (!hasBegun(migration)) {
      this.#waiting.set(uid, { source, created: Date.parse(metadata.creationTimestamp ?? '') });
      if (status?.queuePosition === undefined) return;
      this.#seen.positionsShown++;
      this.#seen.highestPosition = Math.max(this.#seen.highestPosition, status.queuePosition);
      return;
    }
    const begins = this.#waiting.get(uid);
    this.#waiting.delete(uid);
    this.#begins(uid);
    if (begins) {
      for (const [other, { source: from, created }] of this.#waiting)
        if (from === source && created < begins.created - 1000 && !this.#passedBy.has(other)) this.#passedBy.set(other, performance.now());
    }
    const destination = status?.phase === 'Preparing' ? undefined : status?.target?.nodeName;
    this.#running.set(uid, { source, destination });
    this.#count();
  }

  #begins(uid: string): void {
    const since = this.#passedBy.get(uid);
    if (since !== undefined && performance.now() - since > together) this.#seen.overtaken++;
    this.#passedBy.delete(uid);
  }

  #end(uid: string): void {
    this.#begins(uid);
    this.#waiting.delete(uid);
    this.#running.delete(uid);
    this.#ended.add(uid);
  }

  #count(): void {
    const sources = new Map<string, number>();
    const destinations = new Map<string, number>();
    for (const { source, destination } of this.#running.values()) {
      sources.set(source, (sources.get(source) ?? 0) + 1);
      if (destination) destinations.set(destination, (destinations.get(destination) ?? 0) + 1);
    }
    const now = {
      perSource: Math.max(...sources.values()),
      perDestination: Math.max(0, ...destinations.values()),
      cluster: this.#running.size,
    };
    for (const [name, count] of Object.entries(now) as [keyof Limits, number][]) {
      this.#seen.most[name] = Math.max(this.#seen.most[name], count);
      if (count > this.#limits[name]) this.#seen.exceeded.push(`${new Date().toISOString()} ${name}: ${count} of ${this.#limits[name]}`);
    }
  }
}
