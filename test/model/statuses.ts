import type { MigrationStatus } from '../../src/api/migration.ts';
import { Interned } from './intern.ts';

/** The one time there is; deadlines pass by `late` (clock.ts), not by a clock. */
export const epoch = Date.parse('2026-01-01T00:00:00.000Z');
const stamp = new Date(epoch).toISOString();

const statuses = new Interned<MigrationStatus>();

/** Number of the empty status. */
export const noStatus = statuses.put({});

export function statusNumber(status: MigrationStatus): number {
  return statuses.put(abstracted(status));
}

export function statusAt(id: number): MigrationStatus {
  return statuses.get(id);
}

export function statusText(id: number): string {
  return statuses.text(id);
}

export function isStalled(id: number): boolean {
  return statusAt(id).conditions?.some(({ type }) => type === 'Stalled') ?? false;
}

/** What a Stalled condition tells people, or else what Ready does. */
export function wordsOf(id: number): string {
  const { conditions } = statusAt(id);
  return (conditions?.find(({ type }) => type === 'Stalled') ?? conditions?.[0])?.message ?? '';
}

/**
 * The status without what no decision depends on: times, sizes, and the words of a failure (they are only passed on).
 * `returns` counts to four, the first number for which the planner slows down.
 */
function abstracted(status: MigrationStatus): MigrationStatus {
  const { downtimeMilliseconds: _downtime, bytesSent: _bytes, observedGeneration: _generation, ...rest } = status;
  const result: MigrationStatus = { ...rest };
  if (status.steps) {
    const steps: Record<string, string> = {};
    for (const step of Object.keys(status.steps).sort()) if (step !== 'restored' && step !== 'frozen') steps[step] = stamp;
    result.steps = steps as NonNullable<MigrationStatus['steps']>;
  }
  if (status.failure) result.failure = { reason: 'RestoreFailed', message: 'something failed' };
  if (status.returnFailure !== undefined) result.returnFailure = 'something failed';
  if (status.returns !== undefined) result.returns = Math.min(status.returns, 4);
  if (status.containers) {
    result.containers = status.containers.map(({ bytesSent: _sent, archiveBytes: _archive, ...container }) => container);
  }
  if (status.conditions) {
    result.conditions = status.conditions
      .filter(({ type }) => type === 'Ready' || type === 'Stalled')
      .map(({ type, status: holds, reason, message }) => {
        return {
          type,
          status: holds,
          reason: /^rolling back: /.test(message) ? 'RollingBack' : reason,
          message: words(message),
          lastTransitionTime: stamp,
        };
      });
    if (rest.phase === 'Failed') result.conditions = [];
  }
  return sorted(result) as MigrationStatus;
}

function words(message: string): string {
  return message.replace(/^rolling back: .*/, 'rolling back');
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([key, part]) => [key, sorted(part)]),
  );
}
