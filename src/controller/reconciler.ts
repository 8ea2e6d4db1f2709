import type { Logger } from 'pino';
import { isFinished, type Migration, type MigrationStatus } from '../api/migration.ts';
import { type Action, type EventNote, type Observation, type Plan, planMigration } from '../plan/migration/index.ts';
import { together } from '../util/together.ts';
import type { Act } from './act.ts';
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
  log: Logger;
}

/** Rounds of observe, plan, act without a pause; more of them mean that an action has no effect. */
const maximumRounds = 40;

/** How long a wait for an agent's change is kept open. Milliseconds. */
const longPoll = 20_000;

/** Observe, plan, act: the same for every phase. What a plan waits for wakes the key up again. */
export class Reconciler {
  readonly #ports: ReconcilerPorts;
  /** Waits for agents under way, one a migration and side. */
  readonly #waits = new Map<string, AbortController>();
  /** Key → versions of the Migration that were written here and are not shown by the cache yet. */
  readonly #written = new Map<string, Set<string>>();

  constructor(ports: ReconcilerPorts) {
    this.#ports = ports;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<void> {
    const { getMigration, observe, act, log } = this.#ports;
    const [namespace = '', name = ''] = key.split('/');
    /** What the API server answered when the last round wrote it, and nothing was asked of that server since: as fresh as a read. */
    let known: Migration | undefined;
    for (let round = 0; round < maximumRounds; round++) {
      const migration: Migration | undefined = known ?? (await getMigration(namespace, name, signal));
      if (!migration) {
        this.#end(key);
        return;
      }
      const observation = await observe(migration, signal);
      const plan = planMigration(observation);
      const written = await this.#write(migration, plan, signal);
      for (const actions of plan.actions.map((step) => [step].flat())) {
        log.debug({ migration: key, actions: actions.map(({ type }) => type) }, 'acting');
        await together(signal, (stop) => actions.map((action) => act(written, action, stop)));
      }
      known = written !== migration && plan.actions.flat().every(tellsAgent) ? written : undefined;
      if (plan.actions.length > 0 || (written !== migration && !onlyTells(migration, plan))) continue;
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
  wrote({ metadata }: Migration): boolean {
    return this.#written.get(`${metadata.namespace}/${metadata.name}`)?.delete(metadata.resourceVersion ?? '') ?? false;
  }

  stop(): void {
    for (const wait of this.#waits.values()) wait.abort();
    this.#waits.clear();
    this.#written.clear();
  }

  async #write(migration: Migration, plan: Plan, signal: AbortSignal): Promise<Migration> {
    let current = migration;
    // What is done next is followed by another look, which finds better words; nothing rests on these.
    const passing = plan.actions.length > 0 && plan.status !== undefined && sameButWords(migration.status, plan.status);
    if (plan.status && !passing && !sameStatus(migration.status, plan.status)) {
      current = await this.#ports.writeStatus(migration, plan.status, signal);
      this.#remember(current);
      const { phase } = plan.status;
      if (phase !== migration.status?.phase)
        this.#ports.log.info(
          { migration: `${migration.metadata.namespace}/${migration.metadata.name}`, phase, message: plan.status.conditions?.[0]?.message },
          'phase',
        );
    }
    for (const note of plan.events ?? []) this.#ports.event(current, note);
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

  #remember({ metadata }: Migration): void {
    const key = `${metadata.namespace}/${metadata.name}`;
    const versions = this.#written.get(key) ?? new Set();
    this.#written.set(key, versions.add(metadata.resourceVersion ?? ''));
  }

  #end(key: string): void {
    this.#written.delete(key);
    for (const side of ['source', 'destination']) {
      this.#waits.get(`${key}/${side}`)?.abort();
      this.#waits.delete(`${key}/${side}`);
    }
  }
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
