import { hasBegun, isFinished, type Migration } from '../api/migration.ts';
import { policyOf } from '../plan/migration/index.ts';
import { ticketOf } from '../plan/policy/tickets.ts';
import { type Ticket, type Turn, turnsOf } from '../plan/policy/turns.ts';
import { type SharePorts, Shares } from './shares.ts';

export interface AdmissionPorts extends SharePorts {
  /** One of them by its uid. */
  migration(uid: string): Migration | undefined;
  /** Those of them whose target is on the node. */
  migrationsTo(nodeName: string): readonly Migration[];
  /** Node of a pod, from a cache. */
  nodeOf(namespace: string, pod: string): string | undefined;
  disruptionsAllowed(budget: string): number;
  /** Monotonic. Milliseconds. */
  now(): number;
  /** Told what a reckoning of the queue took. Milliseconds. */
  onReckoned?(took: number): void;
}

/** What was granted and does not show yet. */
interface Grant {
  ticket: Ticket;
  /** The Migration was looked at since. */
  told: boolean;
}

/** Where those stand that have to wait. */
interface Reckoning {
  turns: ReadonlyMap<string, Turn>;
  waiting: number;
  /** It may be used until then. Milliseconds, monotonic. */
  until: number;
}

/**
 * For so many times of what a reckoning took it is used for those that wait: however long the queue is, reckoning it keeps
 * the process busy for a twentieth of its time at most.
 */
const reuse = 20;

/**
 * Lets the migrations of policies begin as their limits allow. The cache shows late that one has begun, so what was granted
 * is remembered until it does. One process leads, and this runs in one piece: a limit is never exceeded. What has begun is
 * in the API server, so a leader that takes over counts the same.
 */
export class Admissions {
  readonly #ports: AdmissionPorts;
  /** By uid. */
  readonly #granted = new Map<string, Grant>();
  /** uid → the destination it may move to, and the other way round. */
  readonly #destinations = new Map<string, string>();
  readonly #arrivals = new Map<string, Set<string>>();
  /** What was seen of the pods of Migrations that have been looked at: fresher than what the caches say. */
  readonly #pods = new Map<string, { budgets: readonly string[]; nodeName: string | undefined }>();
  #reckoning: Reckoning = { turns: new Map(), waiting: 0, until: Number.NEGATIVE_INFINITY };
  #rest = 0;

  readonly #shares: Shares;

  constructor(ports: AdmissionPorts) {
    this.#ports = ports;
    this.#shares = new Shares(ports);
  }

  /** How long the queue should be left alone after it was looked at. Milliseconds. */
  get rest(): number {
    return this.#rest;
  }

  /** Whether it was granted its turn, and does not show yet that it has begun. */
  mayBegin(uid: string): boolean {
    return this.#granted.has(uid);
  }

  /** Whether it is this one's turn; undefined when no policy made it. */
  turnOf(migration: Migration, budgets: readonly string[], nodeName?: string): Turn | undefined {
    if (policyOf(migration) === undefined) return undefined;
    const uid = migration.metadata.uid ?? '';
    this.#pods.set(uid, { budgets, nodeName });
    const before = this.#granted.get(uid);
    if (before && isOf(before.ticket, budgets, nodeName)) return this.#tell(before);
    // It was granted by what the caches say of its pod, which is not so: its turn is reckoned anew.
    this.#granted.delete(uid);
    if (before || this.#ports.now() >= this.#reckoning.until) this.#reckon(uid);
    const { turns, waiting } = this.#reckoning;
    // Granted, it would look as if it was gone. The cache wakes it up when it shows it.
    if (!this.#ports.migration(uid)) return { granted: false, position: waiting + 1, why: 'it does not show in the cache yet' };
    const granted = this.#granted.get(uid);
    if (granted) return this.#tell(granted);
    // Many come at once: `next`, which their coming brings about, wakes it if it may go.
    return turns.get(uid) ?? { granted: false, position: waiting + 1, why: 'it has only just come' };
  }

  /** Whether one more may go to the node that was chosen; undefined when no policy made it. */
  destinationTurnOf(migration: Migration, nodeName: string): Turn | undefined {
    const policy = policyOf(migration);
    const limit = policy === undefined ? undefined : this.#ports.limits(policy)?.perDestination;
    if (policy === undefined || limit === undefined) return undefined;
    const { uid = '' } = migration.metadata;
    // Also when the limit has become lower since: two that were granted must not wait for each other.
    if (this.#destinations.get(uid) === nodeName) return { granted: true };
    const others = new Set<string>();
    const count = (other: Migration | undefined) => {
      if (other && policyOf(other) === policy && !isFinished(other)) others.add(other.metadata.uid ?? '');
    };
    for (const other of this.#ports.migrationsTo(nodeName)) if (hasBegun(other) && other.status?.phase !== 'Preparing') count(other);
    for (const other of this.#arrivals.get(nodeName) ?? []) count(this.#ports.migration(other));
    others.delete(uid);
    if (others.size >= limit)
      return { granted: false, position: 1, why: `policy ${policy} allows ${limit} migrations at once to node ${nodeName}` };
    this.#leave(uid);
    this.#destinations.set(uid, nodeName);
    this.#arrivals.set(nodeName, (this.#arrivals.get(nodeName) ?? new Set()).add(uid));
    return { granted: true };
  }

  /** See `Shares`. */
  shareOf(migration: Migration): number | undefined {
    return this.#shares.of(migration);
  }

  /** Something came, ended or changed: grants those their turn that have it now, and wakes them. */
  next(): void {
    const isOver = (uid: string) => {
      const migration = this.#ports.migration(uid);
      return !migration || isFinished(migration);
    };
    for (const uid of this.#pods.keys()) if (isOver(uid)) this.#pods.delete(uid);
    for (const uid of this.#destinations.keys()) if (isOver(uid)) this.#leave(uid);
    for (const uid of this.#granted.keys()) {
      const migration = this.#ports.migration(uid);
      if (!migration || hasBegun(migration)) this.#granted.delete(uid);
    }
    for (const [uid, { told }] of this.#granted) if (!told) this.#wake(uid);
    this.#reckon();
    this.#shares.tell();
  }

  #tell(grant: Grant): Turn {
    grant.told = true;
    return { granted: true };
  }

  #wake(uid: string): void {
    const migration = this.#ports.migration(uid);
    if (migration) this.#ports.wake(migration);
  }

  #leave(uid: string): void {
    const before = this.#destinations.get(uid);
    if (before === undefined) return;
    this.#destinations.delete(uid);
    const arrivals = this.#arrivals.get(before);
    arrivals?.delete(uid);
    if (arrivals?.size === 0) this.#arrivals.delete(before);
  }

  /**
   * Whose turn it is: granted at once, so that whoever is looked at next finds it so without reckoning again.
   *
   * @param asking who is being looked at and need not be woken
   */
  #reckon(asking?: string): void {
    const { limits, disruptionsAllowed, now, onReckoned } = this.#ports;
    const begun = now();
    const { waiting, running } = this.#tickets();
    const turns = turnsOf({
      waiting,
      running,
      limits: (policy) => limits(policy),
      disruptionsAllowed: (budget) => disruptionsAllowed(budget),
    });
    for (const ticket of waiting) {
      if (!turns.get(ticket.uid)?.granted) continue;
      this.#granted.set(ticket.uid, { ticket, told: false });
      if (ticket.uid !== asking) this.#wake(ticket.uid);
    }
    const took = now() - begun;
    this.#rest = reuse * took;
    this.#reckoning = { turns, waiting: waiting.length, until: now() + this.#rest };
    onReckoned?.(took);
  }

  #tickets(): { waiting: Ticket[]; running: Ticket[] } {
    const waiting: Ticket[] = [];
    const running: Ticket[] = [...this.#granted.values()].map(({ ticket }) => ticket);
    for (const migration of this.#ports.migrations()) {
      if (policyOf(migration) === undefined || isFinished(migration)) continue;
      const uid = migration.metadata.uid ?? '';
      if (hasBegun(migration)) {
        if (!this.#granted.has(uid)) running.push(this.#ticketOf(migration));
      } else if (!this.#granted.has(uid)) waiting.push(this.#ticketOf(migration));
    }
    return { waiting, running };
  }

  #ticketOf(migration: Migration): Ticket {
    const { metadata, spec } = migration;
    const seen = this.#pods.get(metadata.uid ?? '');
    return ticketOf(migration, {
      nodeName: seen?.nodeName ?? this.#ports.nodeOf(metadata.namespace ?? '', spec.pod),
      budgets: seen?.budgets,
    });
  }
}

/** Whether a ticket says of the pod what was just seen of it. */
function isOf(ticket: Ticket, budgets: readonly string[], nodeName: string | undefined): boolean {
  const same = ticket.budgets.length === budgets.length && budgets.every((budget) => ticket.budgets.includes(budget));
  return same && (nodeName === undefined || ticket.source === nodeName);
}
