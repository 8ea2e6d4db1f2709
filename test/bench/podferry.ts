import type { Migration, MigrationSpec } from '../../src/api/migration.ts';
import { type Step, steps } from '../../src/api/migration.ts';
import type { Pod } from '../../src/api/pod.ts';
import { migrations } from '../../src/kube/resources.ts';
import { cluster } from '../cluster/support/cluster.ts';
import type { Space } from '../cluster/support/space.ts';
import { until } from '../cluster/support/until.ts';
import { destination, remove } from './pods.ts';
import type { Moved, Mover } from './trial.ts';

/** What the time before a step was spent on, for the steps that fall into the downtime. */
const partsBefore: Partial<Record<Step, string>> = {
  frozen: 'freeze',
  checkpointed: 'checkpoint',
  shipped: 'ship',
  held: 'hold',
  created: 'switch',
};

/** A Migration with nothing set but the destination and what it is made with. */
export class Podferry implements Mover {
  readonly #space: Space;
  readonly #spec: Partial<MigrationSpec>;

  constructor(space: Space, spec: Partial<MigrationSpec> = {}) {
    this.#space = space;
    this.#spec = spec;
  }

  async move(pod: Pod): Promise<Moved> {
    const { name, uid } = pod.metadata;
    const migration = await this.#space.migrate(name, {
      pod: name,
      destination: { nodeName: destination },
      ...this.#spec,
    });
    const limit = 600_000;
    // Begun at once, so that a failure is told instead of the client's waiting in vain; seldom asked, since the API server is on
    // the same two cores.
    const succeeded = this.#space.succeeded(migration, limit, 500);
    succeeded.catch(() => undefined);
    return {
      silent: this.#placeholderOf(migration).catch(() => undefined),
      failed: succeeded.then(() => new Promise<never>(() => undefined)),
      marksAtEnd: async () => marksOf(await succeeded),
      created: async () => stepTime(await succeeded, 'created') ?? Number.NaN,
      target: async () =>
        until(`the pod that ${name} became`, async () => {
          const found = await this.#space.findPod(name);
          return found && found.metadata.uid !== uid ? found : undefined;
        }),
      end: async () => void (await succeeded),
      cleanUp: async () => {
        await remove(this.#space, name);
        await (await cluster()).delete(migrations, { namespace: this.#space.name, name });
        await until(`Migration ${name} is gone`, async () => {
          const left = (await this.#space.migrations()).some(({ metadata }) => metadata.name === name);
          return left ? undefined : true;
        });
      },
    };
  }

  /** Address of the pod that holds the room on the destination. */
  async #placeholderOf({ metadata: { name } }: Migration): Promise<string | undefined> {
    const placeholder = await until('the placeholder', async () => (await this.#space.migration(name)).status?.placeholder, 60_000, 500);
    return until('its address', async () => (await this.#space.findPod(placeholder))?.status?.podIP, 60_000, 500);
  }

  close(): void {
    // Nothing of it lives here.
  }
}

function stepTime(migration: Migration, step: Step): number | undefined {
  const time = migration.status?.steps?.[step];
  return time ? Date.parse(time) : undefined;
}

function marksOf(migration: Migration): { name: string; at: number }[] {
  return steps.flatMap((step) => {
    const at = stepTime(migration, step);
    const name = partsBefore[step];
    return name && at !== undefined ? [{ name, at }] : [];
  });
}
