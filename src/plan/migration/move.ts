import type { SourceView } from '../../api/agent.ts';
import type { ContainerStatus, Migration, MigrationStatus, Phase, Step } from '../../api/migration.ts';
import { timeoutsOf } from '../../api/migration.ts';
import { type Reason, reasons } from '../../api/reasons.ts';
import { explainCriu } from '../criu-advice.ts';
import { shortHash } from '../hash.ts';
import { hold } from './hold.ts';
import type { Action, Observation, Plan } from './observation.ts';
import { destinationGone, sourceChanged } from './prepare.ts';
import { advance, advanceInto, microTime, rollBack, statusOf, timeLeft, wait } from './progress.ts';
import { arrival, sourceRequest, targetRequest } from './requests.ts';

/**
 * Freezing, Checkpointing, Shipping: the source's agent does these three in one go, so that no frozen millisecond is
 * spent on asking; here they are followed, the lease is renewed, and the time is bounded.
 */
export function move(observation: Observation): Plan {
  const { migration, source, destination, settings } = observation;
  const status = statusOf(observation);
  const gone = sourceChanged(observation) ?? destinationGone(observation);
  if (gone) return rollBack(observation, gone.reason, gone.message);
  const nodeName = status.source?.nodeName ?? '';
  const { freezeSeconds } = timeoutsOf(migration);
  const left = timeLeft(observation, 'prepared', freezeSeconds);
  if (left <= 0) return rollBack(observation, reasons.timedOut, `the archives were not on the destination within ${freezeSeconds} s`);
  if (!source?.reachable) {
    return wait(
      observation,
      reasons.sourceUnreachable,
      `podferry's agent on node ${nodeName} does not answer: ${source?.message ?? 'no agent pod is ready there'}`,
      {
        requeueAfter: Math.min(left, 1000),
      },
    );
  }
  if (!destination?.reachable) {
    return wait(
      observation,
      reasons.destinationUnreachable,
      `podferry's agent on node ${status.target?.nodeName} does not answer: ${destination?.message ?? 'no agent pod is ready there'}`,
      {
        requeueAfter: Math.min(left, 1000),
      },
    );
  }
  const { view } = source;
  // The freeze may have come, and gone, since the last look.
  const change = following(observation, view);
  const seen = { ...observation, migration: { ...migration, status: { ...status, ...change } } };
  if (view.error) return rollBack(seen, failureReasons[view.error.step], explainCriu(view.error.message));
  // The record that said where to push to is gone with the destination's disk.
  if (destination.view.state === 'Unknown')
    return rollBack(seen, reasons.shippingFailed, `node ${status.target?.nodeName} has forgotten the migration`);

  if (destination.view.error) return rollBack(seen, reasons.shippingFailed, destination.view.error.message);

  if (view.state === 'Unknown' || view.state === 'Running') {
    if (status.phase !== 'Freezing')
      return rollBack(observation, reasons.freezeFailed, `node ${nodeName} has forgotten the migration; the pod runs`);
    return wait(observation, reasons.frozen, `freezing pod ${status.source?.name} on node ${nodeName}`, {
      actions: [{ type: 'setSource', nodeName, request: sourceRequest(observation, 'Shipped') }],
      requeueAfter: settings.leaseMilliseconds / 3,
    });
  }
  // Both may have been told to hold already, by who could not write it down then.
  const arrived = destination.view.state === 'Complete' || destination.view.state === 'Serving';
  if ((view.state === 'Shipped' || view.state === 'Held') && arrived) {
    return advanceInto(
      hold,
      observation,
      'Holding',
      {
        ...change,
        ...arrival(observation, change.containers),
        // Written down before it can be created.
        target: { nodeName: status.target?.nodeName ?? '', name: targetName(migration) },
      },
      {
        step: 'shipped',
        reason: reasons.shipped,
        message: `the archives of pod ${status.source?.name} are on node ${status.target?.nodeName}, complete and verified`,
      },
    );
  }
  const waitFor: NonNullable<Plan['waitFor']> = [
    { side: 'source', nodeName, revision: view.revision },
    { side: 'destination', nodeName: status.target?.nodeName ?? '', revision: destination.view.revision },
  ];
  const renewal: Action[] =
    leaseIsDue(observation, view) || limitIsStale(observation, view)
      ? [{ type: 'setSource', nodeName, request: sourceRequest(observation, 'Shipped') }]
      : [];
  if (view.state === 'Shipped' && migration.spec.transfer === 'Registry' && destination.view.state === 'Prepared') {
    // Nobody pushes to the destination's agent: it has to be told that all lies in the registry.
    renewal.push({ type: 'setTarget', nodeName: status.target?.nodeName ?? '', request: targetRequest(observation, 'Complete') });
  }
  const { phase, step, reason, message } = progressWords(observation, view);
  if (phase !== status.phase) {
    return advance(
      observation,
      phase,
      change,
      { ...(step ? { step } : {}), reason, message },
      { waitFor, actions: renewal, requeueAfter: settings.leaseMilliseconds / 3 },
    );
  }
  return wait(observation, reason, message, {
    status: { ...status, ...change },
    waitFor,
    actions: renewal,
    requeueAfter: Math.min(left, settings.leaseMilliseconds / 3),
  });
}

/** The only name the target can have. Names made from a prefix look as the owner's own would. */
function targetName(migration: Migration): string {
  const { source, switchKind, attempts } = migration.status ?? {};
  if (switchKind === 'Provided') return migration.spec.targetPod ?? '';
  if (switchKind === 'Recreate') return source?.name ?? '';
  const prefix = (source?.name ?? '').replace(/[a-z0-9]{5}$/, '');
  return `${prefix}${shortHash(`${migration.metadata.uid}/${attempts}`)}`;
}

const failureReasons: Record<NonNullable<SourceView['error']>['step'], Reason> = {
  room: reasons.insufficientDisk,
  freeze: reasons.freezeFailed,
  checkpoint: reasons.checkpointFailed,
  ship: reasons.shippingFailed,
  lease: reasons.timedOut,
};

function leaseIsDue({ settings }: Observation, view: SourceView): boolean {
  return view.leaseLeft !== undefined && view.leaseLeft < (settings.leaseMilliseconds * 2) / 3;
}

/** Whether the source has to be told another share. An agent that knows of no limits cannot be told. */
function limitIsStale({ bytesPerSecond }: Observation, view: SourceView): boolean {
  return view.state !== 'Shipped' && view.bytesPerSecond !== undefined && view.bytesPerSecond !== (bytesPerSecond ?? null);
}

function progressWords(observation: Observation, view: SourceView): { phase: Phase; step?: Step; reason: Reason; message: string } {
  const { source, phase } = statusOf(observation);
  const pod = `pod ${source?.name}`;
  switch (view.state) {
    case 'Checkpointed':
    case 'Shipped':
    case 'Held': {
      const total = view.containers.reduce((sum, container) => sum + (container.archiveBytes ?? 0), 0);
      const sent = view.containers.reduce((sum, container) => sum + container.bytesSent, 0);
      const percent = total > 0 ? Math.min(100, Math.floor((sent * 100) / total)) : 0;
      return {
        phase: 'Shipping',
        // Agents that tell the time have it in the steps already.
        ...(view.checkpointedAt ? {} : { step: 'checkpointed' }),
        reason: reasons.checkpointed,
        message: `shipping ${pod}: ${percent} % of ${total} bytes`,
      };
    }
    case 'Frozen':
      return {
        phase: 'Checkpointing',
        step: 'frozen',
        reason: reasons.frozen,
        message: `${pod} is frozen on node ${source?.nodeName}; its containers are checkpointed`,
      };
    case 'Freezing':
    case 'Running':
    case 'Resuming':
    case 'Unknown':
      // Its agent lets it go on for a moment when CRIU could not seize a process just then (source-work.ts).
      if (phase === 'Checkpointing') return { phase, reason: reasons.frozen, message: `freezing ${pod} on node ${source?.nodeName} again` };
      if (view.aheadBytes !== undefined) {
        const message = `${pod} runs on node ${source?.nodeName} while its memory is sent ahead: ${view.aheadBytes} bytes so far`;
        return { phase: 'Freezing', reason: reasons.prepared, message };
      }
      return { phase: 'Freezing', reason: reasons.prepared, message: `freezing ${pod} on node ${source?.nodeName}` };
  }
}

/** What the views say of the containers, for status. The times of the freeze and the checkpoint are the agent's, not those of hearing of it. */
function following(observation: Observation, view: SourceView): Partial<MigrationStatus> {
  const status = statusOf(observation);
  const containers: ContainerStatus[] = (status.containers ?? []).map((container) => {
    const seen = view.containers.find((candidate) => candidate.name === container.name);
    if (!seen) return container;
    return {
      ...container,
      bytesSent: seen.bytesSent,
      ...(seen.archiveBytes === undefined ? {} : { archiveBytes: seen.archiveBytes }),
      ...(seen.warmBytes ? { warmBytes: seen.warmBytes } : {}),
    };
  });
  const { frozenAt, checkpointedAt } = view;
  const steps = {
    ...status.steps,
    ...(frozenAt ? { frozen: microTime(Date.parse(frozenAt)) } : {}),
    ...(checkpointedAt ? { checkpointed: microTime(Date.parse(checkpointedAt)) } : {}),
  };
  const bytesSent = containers.reduce((sum, container) => sum + (container.bytesSent ?? 0), 0);
  return { containers, bytesSent, ...(frozenAt || checkpointedAt ? { steps } : {}) };
}
