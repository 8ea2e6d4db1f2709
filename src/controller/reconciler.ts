import type { Logger } from 'pino';
import { isFinished, type Migration, type MigrationStatus } from '../api/migration.ts';
import { keyOf } from '../kube/types.ts';
import { type Action, actionsOf, type EventNote, type Observation, type Plan, planMigration } from '../plan/migration/index.ts';
import { together } from '../util/together.ts';
import type { Act, Answer } from './act.ts';
import type { Agents } from './agents.ts';

export interface ReconcilerPorts {
  /** The freshest Migration, straight from the API server; undefined when it is gone. */
  getMigration(namespace: string, name: string, signal: AbortSignal): Promise<Migration | undefined>;
  observe(migration: Migration, signal: AbortSignal): Promise<Observation>;
  /** Replaces the status; fails with a conflict when the Migration changed since it was read. */
  writeStatus(migration: Migration, status: MigrationStatus, signal: AbortSignal): Promise<Migration>;
  act: Act;
  agents: Agents;
  event(migration: Migration, note: EventNote): void;
  /** Look at this key again after the time (milliseconds), or at once. */
  enqueue(key: string, after?: number): void;
  now(): number;
  log: Logger;
}

/** Rounds of observe, plan, act without a pause; more of them mean that an action has no effect. */
const maximumRounds = 40;

/** How long a wait for an agent's change is kept open. Milliseconds. */
const longPoll = 20_000;

type Note = [about: Migration, note: EventNote];

/** Observe, plan, act: the same for every phase. What a plan waits for wakes the key up again. */
export class Reconciler {
  readonly #ports: ReconcilerPorts;
  /** Waits for agents under way, one a migration and side. */
  readonly #waits = new Map<string, AbortController>();
  /** Key → the Migration as it was written here last, or is being replaced; gone as soon as somebody else is known to have changed it. */
  readonly #latest = new Map<string, Migration>();
  /** Key → versions of the Migration that were written here and are not shown by the cache yet. */
  readonly #written = new Map<string, Set<string>>();

  constructor(ports: ReconcilerPorts) {
    this.#ports = ports;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<void> {
    /** What is to be told. Who comes to rest has time for it; until then the pod may stand still. */
    const notes: Note[] = [];
    try {
      await this.#rounds(key, notes, signal);
    } catch (error) {
      // Somebody has changed it, perhaps.
      this.forget(key);
      throw error;
    } finally {
      for (const [about, note] of notes) this.#ports.event(about, note);
    }
  }

  async #rounds(key: string, notes: Note[], signal: AbortSignal): Promise<void> {
    const { getMigration, observe, act, log } = this.#ports;
    const [namespace = '', name = ''] = key.split('/');
    /** What the API server answered when it was written here; nobody is known to have changed it since. A write fails where somebody has. */
    let known = this.#latest.get(key);
    /** What the agents answered when they were told something, and all else as it was just before. */
    let seen: Observation | undefined;
    for (let round = 0; round < maximumRounds; round++) {
      const migration: Migration | undefined = known ?? (await getMigration(namespace, name, signal));
      if (!migration) {
        this.#end(key);
        return;
      }
      const observation: Observation = seen ?? (await observe(migration, signal));
      const plan = planMigration(observation);
      const { meanwhile = [] } = plan;
      const [written, ...answers] = await together<[Migration, ...(Answer | undefined)[]]>(signal, (stop) => [
        this.#write(migration, plan, notes, stop),
        ...meanwhile.map((action) => act(migration, action, stop)),
      ]);
      for (const actions of plan.actions.map((step) => [step].flat())) {
        log.debug({ migration: key, actions: actions.map(({ type }) => type) }, 'acting');
        await together(signal, (stop) => actions.map((action) => act(written, action, stop)));
      }
      const done = actionsOf(plan);
      if (done.some(changesMigration)) this.forget(key);
      known = written !== migration && done.every(tellsAgent) ? written : undefined;
      const told = known && plan.actions.length === 0 && meanwhile.length > 0;
      seen = told ? Object.assign({ ...observation, migration: written, now: this.#ports.now() }, ...answers.map(reached)) : undefined;
      if (done.length > 0 || (written !== migration && !onlyTells(migration, plan))) continue;
      if (isFinished(migration)) this.#end(key);
      this.#wait(key, migration, plan);
      return;
    }
    log.warn({ migration: key, rounds: maximumRounds }, 'actions seem to have no effect; looking again later');
    this.#ports.enqueue(key, 5000);
  }

  /**
   * Whether this version of a Migration was written here: what follows from it has been done, or is waited for. Asked once
   * for each version that the cache shows.
   */
  wrote(migration: Migration): boolean {
    const key = keyOf(migration);
    const own = this.#written.get(key)?.delete(migration.metadata.resourceVersion ?? '') ?? false;
    if (!own) this.forget(key);
    return own;
  }

  /** It is not what it was when it was written here. */
  forget(key: string): void {
    this.#latest.delete(key);
  }

  stop(): void {
    for (const wait of this.#waits.values()) wait.abort();
    this.#waits.clear();
    this.#latest.clear();
    this.#written.clear();
  }

  async #write(migration: Migration, plan: Plan, notes: Note[], signal: AbortSignal): Promise<Migration> {
    let current = migration;
    // What is done next is followed by another look, which finds better words; nothing rests on these.
    const passing = actionsOf(plan).length > 0 && plan.status !== undefined && sameButWords(migration.status, plan.status);
    if (plan.status && !passing && !sameStatus(migration.status, plan.status)) {
      this.#latest.set(keyOf(migration), migration);
      current = await this.#ports.writeStatus(migration, plan.status, signal);
      this.#remember(current);
      const { phase } = plan.status;
      if (phase !== migration.status?.phase)
        this.#ports.log.info({ migration: keyOf(migration), phase, message: plan.status.conditions?.[0]?.message }, 'phase');
    }
    for (const note of plan.events ?? []) notes.push([current, note]);
    return current;
  }

  #wait(key: string, migration: Migration, plan: Plan): void {
    if (plan.requeueAfter !== undefined) this.#ports.enqueue(key, Math.max(plan.requeueAfter, 50));
    for (const { side, nodeName, revision } of plan.waitFor ?? []) {
      const id = `${key}/${side}`;
      if (this.#waits.has(id)) continue;
      const wait = new AbortController();
      this.#waits.set(id, wait);
      const sideName = side === 'source' ? 'sources' : 'targets';
      this.#ports.agents
        .nextChange(sideName, nodeName, migration.metadata.uid ?? '', revision, longPoll, wait.signal)
        .then(() => 0)
        .catch(() => 1000)
        .then((after) => {
          this.#waits.delete(id);
          if (!wait.signal.aborted) this.#ports.enqueue(key, after);
        });
    }
  }

  #remember(migration: Migration): void {
    const key = keyOf(migration);
    const versions = this.#written.get(key) ?? new Set();
    this.#written.set(key, versions.add(migration.metadata.resourceVersion ?? ''));
    // Somebody's change may be shown before the answer to the write is: then this is not the latest.
    if (this.#latest.has(key)) this.#latest.set(key, migration);
  }

  #end(key: string): void {
    this.forget(key);
    this.#written.delete(key);
    for (const side of ['source', 'destination']) {
      this.#waits.get(`${key}/${side}`)?.abort();
      this.#waits.delete(`${key}/${side}`);
    }
  }
}

function reached(answer: Answer | undefined): Partial<Observation> {
  if (!answer) return {};
  return 'source' in answer
    ? { source: { reachable: true, view: answer.source } }
    : { destination: { reachable: true, view: answer.destination } };
}

function changesMigration({ type }: Action): boolean {
  return type === 'addFinalizer' || type === 'removeFinalizer' || type === 'deleteMigration';
}

function tellsAgent({ type }: Action): boolean {
  return type === 'setSource' || type === 'setTarget';
}

/** Whether a plan that does nothing stays in its phase and waits: what it has to write then is how far things are, and another look would find the same. */
function onlyTells({ status }: Migration, plan: Plan): boolean {
  const waits = plan.requeueAfter !== undefined || (plan.waitFor ?? []).length > 0;
  return waits && plan.status?.phase === status?.phase;
}

/** Times of conditions do not count: words that are the same are no news. */
function sameStatus(before: MigrationStatus | undefined, after: MigrationStatus): boolean {
  return canonical(before ?? {}) === canonical(after);
}

/** Whether the conditions hold as before and all else is the same; only what they say differs. */
function sameButWords(before: MigrationStatus | undefined, after: MigrationStatus): boolean {
  const withoutWords = (status: MigrationStatus) => ({
    ...status,
    conditions: status.conditions?.map(({ type, status: holds }) => [type, holds]),
  });
  return before !== undefined && canonical(withoutWords(before)) === canonical(withoutWords(after));
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([left], [right]) => (left < right ? -1 : 1)))
      : part,
  );
}
