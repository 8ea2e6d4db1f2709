import type { RunningContainer, Runtime } from './runtime.ts';

/** What asking the runtime may take; the pod runs meanwhile, but somebody waits. Milliseconds. */
const askDeadline = 5_000;

/**
 * What CRIU would write of containers that run, bytes; an estimate. Those of which the runtime does not tell count nothing.
 *
 * @returns undefined when it tells of none
 * @throws the signal's reason
 */
export async function memoryOfPod(runtime: Runtime, containers: RunningContainer[], signal: AbortSignal): Promise<number | undefined> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(askDeadline)]);
  const known = await Promise.all(containers.map(({ id }) => runtime.memoryOf(id, deadline).catch(() => undefined)));
  signal.throwIfAborted();
  if (known.every((bytes) => bytes === undefined)) return undefined;
  return known.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
}
