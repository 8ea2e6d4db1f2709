import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { leftoversOf, type Standing } from '../plan/leftovers.ts';
import { messageOf } from '../util/errors.ts';
import type { Agents } from './agents.ts';

export interface SweeperPorts {
  agents: Agents;
  /** Nodes with an agent that is ready. */
  nodes(): string[];
  /** From a cache that has synced. */
  standingOf(uid: string): Standing;
  log: Logger;
}

/** Between two rounds. Milliseconds. */
const interval = 60_000;

/** Removes from the agents what no migration needs any more, until the signal aborts. */
export async function sweep({ agents, nodes, standingOf, log }: SweeperPorts, signal: AbortSignal): Promise<void> {
  /** A record is younger than the cache for a moment: only what was left over twice in a row goes. */
  let before = new Set<string>();
  while (!signal.aborted) {
    await sleep(interval, undefined, { signal }).catch(() => undefined);
    const seen = new Set<string>();
    for (const node of signal.aborted ? [] : nodes()) {
      try {
        const { sources, targets, orphaned } = leftoversOf(await agents.records(node, signal), standingOf);
        for (const uid of orphaned)
          log.error(
            { node, migration: uid },
            'a pod is frozen on this node by a Migration that does not exist any more; see docs/operations.md',
          );
        for (const [side, uids] of [
          ['sources', sources],
          ['targets', targets],
        ] as const) {
          for (const uid of uids) {
            const key = `${node}/${side}/${uid}`;
            seen.add(key);
            if (!before.has(key)) continue;
            log.info({ node, migration: uid, side }, 'removing what is left of a migration');
            await agents.forget(side, node, uid, signal);
          }
        }
      } catch (error) {
        if (!signal.aborted) log.warn({ node, error: messageOf(error) }, 'leftovers could not be looked for');
      }
    }
    before = seen;
  }
}
