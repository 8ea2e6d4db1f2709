import type { AgentRecords } from '../api/agent.ts';

/** What is known of a Migration by its uid; undefined: there is none of that uid. */
export type Standing = 'active' | 'finished' | undefined;

export interface Leftovers {
  /** Records that nobody needs: to be forgotten. */
  sources: string[];
  targets: string[];
  /** Pods that are frozen although no Migration is about them any more: a person has to look, the memory may be the only copy. */
  orphaned: string[];
}

/**
 * Of an agent's records those that are left over: an agent that did not answer when its migration ended, a finalizer that
 * somebody took off. A committed target stays: its pod pulls its base image from there whenever it is restarted.
 */
export function leftoversOf(records: AgentRecords, standingOf: (uid: string) => Standing): Leftovers {
  const over = (uid: string) => standingOf(uid) !== 'active';
  const sources = records.sources.filter(({ uid }) => over(uid));
  return {
    // One that is frozen under a lease is let go by its agent; to forget it before would leave it frozen with nobody to resume it.
    sources: sources
      .filter(({ uid, state }) => state === 'Running' || (state === 'Held' && standingOf(uid) === 'finished'))
      .map(({ uid }) => uid),
    targets: records.targets.filter(({ uid, state }) => over(uid) && state !== 'Committed').map(({ uid }) => uid),
    orphaned: sources.filter(({ uid, state }) => state === 'Held' && standingOf(uid) === undefined).map(({ uid }) => uid),
  };
}
