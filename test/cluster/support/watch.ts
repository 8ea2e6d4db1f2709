import { hasBegun, isFinished } from '../../../src/api/migration.ts';
import { Informer } from '../../../src/kube/informer.ts';
import { type Migration, migrations } from '../../../src/kube/resources.ts';
import { cluster } from './cluster.ts';
import type { Space } from './space.ts';

/**
 * Watches the Migrations of a namespace until the end of the file: how many of each policy were under way at once, in all that
 * the API server recorded.
 */
export function useWatch(space: Space) {
  const most = new Map<string, number>();
  let stop: () => Promise<void> = async () => {};
  beforeAll(async () => {
    const informer: Informer<Migration> = new Informer(await cluster(), migrations, { namespace: space.name });
    stop = () => informer.stop();
    const count = () => {
      const now = new Map<string, number>();
      for (const migration of informer.list()) {
        const { policy, source } = migration.status ?? {};
        const key = `${policy} from ${source?.nodeName}`;
        if (hasBegun(migration) && !isFinished(migration)) now.set(key, (now.get(key) ?? 0) + 1);
      }
      for (const [key, running] of now) most.set(key, Math.max(running, most.get(key) ?? 0));
    };
    informer.addHandlers({ add: count, update: count, delete: count });
    await informer.start().waitForSync();
  });
  afterAll(() => stop());
  return {
    /** The most that this policy had under way from this node. */
    most: (policy: string, node: string) => most.get(`${policy} from ${node}`) ?? 0,
  };
}
