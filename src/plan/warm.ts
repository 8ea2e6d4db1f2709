/** What is known when it is decided whether memory is worth being sent ahead once (more). */
export interface WarmFacts {
  /** Rounds that were made already, and how many may be. */
  rounds: number;
  most: number;
  /** Of the pod, as CRIU would write it now. Bytes. */
  memory: number;
  /** What changed between the last two rounds, which is what would have to be sent; undefined: not known before two. Bytes. */
  changed: number | undefined;
  /** As measured, or assumed. Bytes per second. */
  sendRate: number;
  dumpRate: number;
  /** What is left for all of it, from now until the memory is on the destination. Seconds. */
  seconds: number;
}

/** Shorter than this nobody notices. Seconds. */
const least = 0.25;

/** What a round's own stop counts, beside the freeze: it is by itself, and two short stops do less harm than a long one (timeouts, probes). */
const ownStop = 0.5;

/** What a round more is taken to leave of what changed in the one before: it takes less time than that. */
const leaves = 0.5;

/** How many times as long as the dump the first round has to take for a second whose gain is not known. */
const longFirst = 8;

/**
 * Whether the pod is to be dumped once more while it runs, and what is new to be sent ahead. The pod stands still while CRIU
 * dumps it, so a round has to shorten the freeze by what that is worth.
 */
export function isRoundWorthIt({ rounds, most, memory, changed, sendRate, dumpRate, seconds }: WarmFacts): boolean {
  if (rounds >= most) return false;
  // Both the round and what follows may be as long as the whole.
  if ((memory / sendRate) * 2 > seconds) return false;
  const stall = memory / dumpRate;
  // Without any round sending goes on while CRIU writes, and only what is left then costs.
  if (rounds === 0) return memory / sendRate - stall > Math.max(ownStop * stall, least);
  // Nobody knows what changes before there were two.
  if (changed === undefined) return memory / sendRate > longFirst * stall;
  return (changed / sendRate) * (1 - leaves) > stall + least;
}
