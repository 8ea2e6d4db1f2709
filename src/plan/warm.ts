/** What is known when it is decided whether memory is worth being sent ahead once (more). */
export interface WarmFacts {
  /** Rounds that were made already, and how many may be. */
  rounds: number;
  most: number;
  /** Of the pod, as CRIU would write it now. Bytes. */
  memory: number;
  /** What the last round found changed since the one before, and in what time; undefined: there were no two. Bytes, seconds. */
  changed: { bytes: number; seconds: number } | undefined;
  /** Since the dump of the last round began: what changed since then would have to be sent. Seconds. */
  since: number;
  /** As measured, or assumed. Bytes per second. */
  sendRate: number;
  dumpRate: number;
  /** What is left for all of it, from now until the memory is on the destination. Seconds. */
  seconds: number;
}

/** Shorter than this nobody notices. Seconds. */
const least = 0.1;

/** What a round's own stop counts, beside the freeze: it is by itself, and two short stops do less harm than a long one (timeouts, probes). */
const ownStop = 0.5;

/** How much is taken to have changed during the first round, before anybody knows. Share of the memory. */
const changesUnseen = 0.25;

/**
 * Whether the pod is to be dumped once more while it runs, and what is new to be sent ahead. The pod stands still while CRIU
 * dumps it, so a round has to shorten the freeze by what that is worth.
 */
export function isRoundWorthIt({ rounds, most, memory, changed, since, sendRate, dumpRate, seconds }: WarmFacts): boolean {
  if (rounds >= most) return false;
  // Both the round and what follows may be as long as the whole.
  if ((memory / sendRate) * 2 > seconds) return false;
  const stall = memory / dumpRate;
  const worth = Math.max(ownStop * stall, least);
  // Without any round sending goes on while CRIU writes, and only what is left then costs.
  if (rounds === 0) return memory / sendRate - stall > worth;
  // What changes in less time is less, down to in proportion; where it is always the same, the round after this one is not made.
  const { bytes, seconds: took } = changed ?? { bytes: memory * changesUnseen, seconds: since };
  const changedIn = (time: number) => bytes * Math.min(1, time / took);
  const before = changedIn(since) / sendRate;
  const after = changedIn(stall + before) / sendRate;
  return before - after > worth;
}
