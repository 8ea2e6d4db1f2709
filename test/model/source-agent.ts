import type { SourceRequest } from '../../src/api/agent.ts';
import {
  answers,
  isConnected,
  migrationOf,
  origin,
  processOf,
  type SourceRecord,
  type Step,
  type World,
  withMigration,
  withProcess,
  withTarget,
} from './world.ts';

/** The source's agent, as src/agent/source.ts is: one record a migration, work that goes on by itself, goals. */

function withSource(world: World, m: number, change: Partial<SourceRecord>): World {
  const { source } = migrationOf(world, m);
  return source ? withMigration(world, m, { source: { ...source, ...change } }) : world;
}

/** The way back: `Resuming` is on the disk before the processes go on, and `Running` is shown only afterwards. */
function resumes(world: World, m: number, error: SourceRecord['error'] = ''): World {
  const before = migrationOf(world, m).source?.error ?? '';
  return withSource(world, m, { st: 'Resuming', pushed: false, error: before || error });
}

/** The processes go on, and only then the archives go. */
function goesOn(world: World, m: number): World {
  const { source } = migrationOf(world, m);
  if (!source) return world;
  const resumed = processOf(world, source.uid)?.st === 'paused' ? withProcess(world, source.uid, { st: 'run' }) : world;
  return withSource(resumed, m, { st: 'Running', archive: false });
}

/**
 * A goal is set.
 *
 * @param blindly it resumes without looking whether the held processes are there
 * @param late the call is not waited for any more: what it does in several steps can be seen, and cut off, in between
 */
export function setSource(world: World, m: number, request: SourceRequest, late: boolean, blindly: boolean): World {
  const { source, forgotten } = migrationOf(world, m);
  switch (request.goal) {
    case 'Shipped': {
      if (source || forgotten) return world;
      const record: SourceRecord = {
        st: 'Freezing',
        uid: request.podUid,
        error: '',
        archive: false,
        lost: false,
        pushed: false,
        token: request.destination.repository,
        returning: '',
      };
      return withMigration(world, m, { source: record });
    }
    case 'Held': {
      if (source?.st !== 'Shipped') return world;
      if (processOf(world, source.uid)?.st !== 'paused') return resumes(world, m, 'lease');
      return withSource(world, m, { st: 'Held' });
    }
    case 'Resumed': {
      if (!source || source.st === 'Running') return world;
      if (source.st === 'Held' && !blindly && processOf(world, source.uid)?.st !== 'paused') return withSource(world, m, { lost: true });
      const written = resumes(world, m);
      return late ? written : goesOn(written, m);
    }
    case 'Returned':
      return source?.st === 'Held' && source.archive && !source.returning
        ? withSource(world, m, { returning: request.destination.repository })
        : world;
  }
}

/** Record and archives go; undefined (the call fails) while the pod still is being resumed. */
export function forgetSource(world: World, m: number): World | undefined {
  return migrationOf(world, m).source?.st === 'Resuming' ? undefined : withMigration(world, m, { source: null, forgotten: true });
}

/** The archives of a held pod are worth nothing, which its agent has written down. */
export function loseArchive(world: World, m: number): World {
  return withSource(world, m, { archive: false, returning: '' });
}

/** What an agent forgets when it crashes: what was only in its memory. */
export function crashSource(world: World, m: number): World {
  return withSource(world, m, { pushed: false, returning: '' });
}

/** The same, where its last steps were not on the disk yet: nobody waits for these to be. */
export function crashSourceUnwritten(world: World, m: number): World[] {
  const crashed = (change: Partial<SourceRecord>) => withSource(crashSource(world, m), m, change);
  const nothing = () => crashed({ st: 'Freezing', archive: false });
  switch (migrationOf(world, m).source?.st) {
    case 'Frozen':
      return [nothing()];
    case 'Checkpointed':
      return [nothing(), crashed({ st: 'Frozen', archive: false })];
    case 'Shipped':
      return [nothing(), crashed({ st: 'Frozen', archive: false }), crashed({ st: 'Checkpointed' })];
    default:
      return [];
  }
}

/** What was archived goes, and is written down as gone, before the processes go on. */
function thaws(world: World, m: number): World {
  const { source } = migrationOf(world, m);
  const resumed = source && processOf(world, source.uid)?.st === 'paused' ? withProcess(world, source.uid, { st: 'run' }) : world;
  return withSource(resumed, m, { st: 'Freezing', archive: false });
}

/** Where the work towards `Shipped` is. */
function work(world: World, m: number, record: SourceRecord): Step[] {
  const who = 'source agent:';
  const paused = processOf(world, record.uid)?.st === 'paused';
  switch (record.st) {
    case 'Freezing': {
      if (!processOf(world, record.uid)) return [{ label: `${who} finds no container to freeze`, world: resumes(world, m, 'freeze') }];
      const frozen = withProcess(world, record.uid, { st: 'paused' });
      return [{ label: `${who} freezes the pod`, world: withSource(frozen, m, { st: 'Frozen' }) }];
    }
    case 'Frozen':
      if (!paused) return [{ label: `${who} finds the container ended`, world: resumes(world, m, 'checkpoint') }];
      return [{ label: `${who} checkpoints`, world: withSource(world, m, { st: 'Checkpointed', archive: true }) }];
    case 'Checkpointed': {
      if (record.pushed) {
        if (!paused) return [{ label: `${who} finds the container ended`, world: resumes(world, m, 'ship') }];
        return [{ label: `${who} is done shipping`, world: withSource(world, m, { st: 'Shipped', pushed: false }) }];
      }
      const { b } = migrationOf(world, m).targets;
      const through = isConnected(world.nodes.a) && answers(world.nodes.b) && b?.st === 'Prepared' && b.token === record.token;
      if (!through) return [{ label: `${who} cannot ship`, world: resumes(world, m, 'ship') }];
      const arrived = withTarget(world, m, 'b', { ...b, st: 'Complete' });
      return [{ label: `${who} ships the archives`, world: withSource(arrived, m, { pushed: true }) }];
    }
    case 'Running':
      return [];
    case 'Resuming':
      return [{ label: `${who} resumes the pod`, world: goesOn(world, m) }];
    case 'Held': {
      const gone = !record.lost && !paused;
      const seen = gone ? [{ label: `${who} sees that the held processes have ended`, world: withSource(world, m, { lost: true }) }] : [];
      return [...seen, ...returns(world, m, record)];
    }
    case 'Shipped':
      return [];
  }
}

function returns(world: World, m: number, record: SourceRecord): Step[] {
  if (!record.returning) return [];
  const { a } = migrationOf(world, m).targets;
  const whole = a?.st === 'Prepared' && a.token === record.returning ? withTarget(world, m, 'a', { ...a, st: 'Complete' }) : world;
  return [{ label: 'source agent: ships the archives to its own node', world: withSource(whole, m, { returning: '' }) }];
}

export function sourceAgentSteps(world: World): Step[] {
  const { power, agent } = world.nodes[origin];
  if (!power || !agent) return [];
  return world.migs.flatMap(({ source }, m) => (source ? work(world, m, source) : []));
}

/** The lease of the freeze may run out at any time before the hold. */
export function leaseSteps(world: World): Step[] {
  const { power, agent } = world.nodes[origin];
  if (!power || !agent) return [];
  return world.migs.flatMap(({ source }, m) =>
    source && !['Held', 'Resuming', 'Running'].includes(source.st)
      ? [{ label: 'time: the lease of the freeze runs out', world: resumes(world, m, 'lease') }]
      : [],
  );
}

export function checkpointFailures(world: World): Step[] {
  const { power, agent } = world.nodes[origin];
  if (!power || !agent) return [];
  return world.migs.flatMap(({ source }, m) =>
    source?.st === 'Frozen'
      ? [
          { label: 'fault: the checkpoint fails', world: resumes(world, m, 'checkpoint') },
          { label: 'fault: the checkpoint fails for a moment, and the pod goes on until it is frozen again', world: thaws(world, m) },
        ]
      : [],
  );
}
