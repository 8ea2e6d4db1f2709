import type { Logger } from 'pino';
import { isFinished, type Migration, type MigrationStatus } from '../api/migration.ts';
import { type EventNote, type Observation, type Plan, planMigration } from '../plan/migration/index.ts';
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

  constructor(ports: ReconcilerPorts) {
    this.#ports = ports;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<void> {
    const { getMigration, observe, act, log } = this.#ports;
    const [namespace = '', name = ''] = key.split('/');
    for (let round = 0; round < maximumRounds; round++) {
      const migration = await getMigration(namespace, name, signal);
      if (!migration) {
        this.#endWaits(key);
        return;
      }
      const observation = await observe(migration, signal);
      const plan = planMigration(observation);
      const written = await this.#write(migration, plan, signal);
      for (const action of plan.actions) {
        log.debug({ migration: key, action: action.type }, 'acting');
        await act(written, action, signal);
      }
      if (plan.actions.length > 0 || written !== migration) continue;
      if (isFinished(migration)) this.#endWaits(key);
      this.#wait(key, migration, plan);
      return;
    }
    log.warn({ migration: key, rounds: maximumRounds }, 'actions seem to have no effect; looking again later');
    this.#ports.enqueue(key, 5000);
  }

  stop(): void {
    for (const wait of this.#waits.values()) wait.abort();
    this.#waits.clear();
  }

  async #write(migration: Migration, plan: Plan, signal: AbortSignal): Promise<Migration> {
    let current = migration;
    if (plan.status && !sameStatus(migration.status, plan.status)) {
      current = await this.#ports.writeStatus(migration, plan.status, signal);
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

  #endWaits(key: string): void {
    for (const side of ['source', 'destination']) {
      this.#waits.get(`${key}/${side}`)?.abort();
      this.#waits.delete(`${key}/${side}`);
    }
  }
}

/** Times of conditions do not count: words that are the same are no news. */
function sameStatus(before: MigrationStatus | undefined, after: MigrationStatus): boolean {
  return canonical(before ?? {}) === canonical(after);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([left], [right]) => (left < right ? -1 : 1)))
      : part,
  );
}
