import { hasBegun, isFinished, type Migration } from '../../api/migration.ts';
import { isReady, type Pod } from '../../api/pod.ts';
import { type PodPreview, type Verdict, verdicts } from '../../api/preview.ts';
import { policyOf, refuseBudget } from '../migration/accept.ts';
import { budgetsOf, disruptionsAllowed } from './budgets.ts';
import { type Outcome, outcomeOfEviction } from './eviction.ts';
import { outcomeOnNode } from './node-trigger.ts';
import type { PreviewInput } from './preview-input.ts';
import { leftAlone, whereTo, whyIgnored, whyUncovered } from './preview-words.ts';
import { inWords } from './progress-words.ts';
import { policyFor } from './select.ts';
import { ticketOf } from './tickets.ts';
import { type Turn, turnsOf } from './turns.ts';

export interface Preview {
  /** One a pod: in the order of `verdicts`, those that would migrate in the order of their turn. */
  pods: PodPreview[];
  /** Those that would be made, in the same order. Who asks for an eviction is not known, so the annotation for it is missing. */
  migrations: Migration[];
}

interface Row {
  preview: PodPreview;
  create?: Migration;
}

/** What would become of each pod of a node, by the same decisions that are acted on. */
export function previewNode(input: PreviewInput): Preview {
  const known = byPod(input.migrations);
  const outcomes = input.pods.map((pod) => ({ pod, outcome: outcomeOf(input, pod, known.get(keyOf(pod)) ?? []) }));
  const made = outcomes.flatMap(({ pod, outcome }) => (outcome?.type === 'migrate' ? [{ pod, create: outcome.create }] : []));
  const turns = turnsIn(input, made);
  const order = [...turns.keys()];
  const rows = outcomes.map(({ pod, outcome }) => rowOf(input, pod, outcome, turns));
  const rank = ({ preview, create }: Row) =>
    verdicts.indexOf(preview.verdict) * (order.length + 1) + (create ? order.indexOf(uidOf(create)) : 0);
  rows.sort(
    (left, right) =>
      rank(left) - rank(right) ||
      left.preview.namespace.localeCompare(right.preview.namespace) ||
      left.preview.name.localeCompare(right.preview.name),
  );
  return { pods: rows.map(({ preview }) => preview), migrations: rows.flatMap(({ create }) => create ?? []) };
}

/** Only what this policy has a word on. */
export function onlyOf({ pods, migrations }: Preview, policy: string): Preview {
  return {
    pods: pods.filter((pod) => pod.policy === policy),
    migrations: migrations.filter((migration) => policyOf(migration) === policy),
  };
}

/** Pods by verdict, in the order of `verdicts`; those that do not occur are left out. */
export function countsOf(pods: readonly PodPreview[]): Partial<Record<Verdict, number>> {
  const counts = verdicts.map((verdict) => [verdict, pods.filter((pod) => pod.verdict === verdict).length] as const);
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

/** undefined: nothing asks for the pod. */
function outcomeOf(input: PreviewInput, pod: Pod, migrations: readonly Migration[]): Outcome | undefined {
  const { now, trigger, node, policies } = input;
  if (whyIgnored(pod) !== undefined) return undefined;
  const namespaceLabels = (namespace: string) =>
    trigger === 'Eviction' && leftAlone.has(namespace) ? undefined : input.namespaceLabels(namespace);
  const space = namespaceLabels(pod.metadata.namespace ?? '');
  if (!space) return { type: 'asEver' };
  if (trigger === 'Node') return outcomeOnNode({ node, policies, namespaceLabels, migrationsOf: () => migrations }, pod);
  const policy = policyFor(policies, { namespace: space, labels: pod.metadata.labels }, { type: 'eviction' });
  return outcomeOfEviction({ now, user: '', pod, policy, migrations });
}

function rowOf(input: PreviewInput, pod: Pod, outcome: Outcome | undefined, turns: ReadonlyMap<string, Turn>): Row {
  const row = (verdict: Verdict, message: string, more: Partial<PodPreview> = {}): Row => ({
    preview: { namespace: pod.metadata.namespace ?? '', name: pod.metadata.name, verdict, message, ...more },
  });
  switch (outcome?.type) {
    case undefined:
      return row('Ignored', whyIgnored(pod) ?? '');
    case 'asEver':
      return row('Uncovered', `${input.trigger === 'Eviction' ? 'evicted as ever' : 'left where it is'}: ${whyUncovered(input, pod)}`);
    case 'moving':
    case 'arrived': {
      const policy = policyOf(outcome.by);
      return row('Moving', inWords(outcome.by), { ...(policy ? { policy } : {}), migration: outcome.by.metadata.name });
    }
    case 'cannotMove': {
      const { policy, why } = outcome;
      const of = { policy: policy.metadata.name };
      if (input.trigger === 'Node') return row('Stay', why, of);
      if (policy.spec.onFailure === 'Evict') return row('Evict', `without its memory, since ${why}`, of);
      return row('Block', why, of);
    }
    case 'migrate': {
      const { policy, create } = outcome;
      const of = { policy: policy.metadata.name };
      if (input.trigger === 'Node' && !isReady(input.node))
        return row('Stay', `node ${input.node.metadata.name} is not Ready: only an agent that answers can move it`, of);
      const turn = turns.get(uidOf(create));
      const waits = turn && !turn.granted;
      const refusal = refuseBudget(pod);
      const message = [
        waits ? `position ${turn.position}, ${whereTo(create)} (${turn.why})` : `now, ${whereTo(create)}`,
        ...(refusal ? [`but it would be refused: ${refusal.message}`] : []),
      ].join('; ');
      const { destination } = create.spec;
      return {
        create,
        ...row('Migrate', message, {
          ...of,
          migration: create.metadata.name,
          ...(destination ? { destination } : {}),
          ...(waits ? { queuePosition: turn.position } : {}),
        }),
      };
    }
  }
}

/** The turns of the Migrations that would be made, beside those that exist; in the order of the queue. */
function turnsIn(input: PreviewInput, made: readonly { pod: Pod; create: Migration }[]): Map<string, Turn> {
  const { now, node, pods, policies, migrations, budgets, nodeOf } = input;
  const here = new Map(pods.map((pod) => [keyOf(pod), pod]));
  const queued = migrations.filter((migration) => policyOf(migration) !== undefined && !isFinished(migration));
  const standing = (migration: Migration) => {
    const { namespace = '', uid } = migration.metadata;
    const pod = here.get(`${namespace}/${migration.spec.pod}`);
    if (pod) return ticketOf(migration, { nodeName: node.metadata.name, budgets: budgetsOf(pod, budgets) });
    return ticketOf(migration, { nodeName: nodeOf?.(namespace, migration.spec.pod) ?? `of Migration ${uid}` });
  };
  const creationTimestamp = new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
  const asMade = made.map(({ pod, create }) =>
    ticketOf(
      { ...create, metadata: { ...create.metadata, uid: uidOf(create), creationTimestamp } },
      { nodeName: node.metadata.name, budgets: budgetsOf(pod, budgets) },
    ),
  );
  const found = new Map(budgets.map((budget) => [`${budget.metadata.namespace}/${budget.metadata.name}`, budget]));
  const all = turnsOf({
    waiting: [...queued.filter((migration) => !hasBegun(migration)).map(standing), ...asMade],
    running: queued.filter(hasBegun).map(standing),
    limits: (name) => policies.find(({ metadata }) => metadata.name === name)?.spec.limits,
    disruptionsAllowed: (budget) => disruptionsAllowed(found.get(budget)),
  });
  const own = new Set(asMade.map(({ uid }) => uid));
  return new Map([...all].filter(([uid]) => own.has(uid)));
}

/** What stands in for the uid that the API server would give. */
function uidOf({ metadata }: Migration): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function keyOf({ metadata }: Pod): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** Migrations by the pods that they name or have made. */
function byPod(migrations: readonly Migration[]): Map<string, Migration[]> {
  const found = new Map<string, Migration[]>();
  for (const migration of migrations) {
    for (const name of new Set([migration.spec.pod, migration.status?.target?.name])) {
      if (name === undefined) continue;
      const key = `${migration.metadata.namespace}/${name}`;
      found.set(key, [...(found.get(key) ?? []), migration]);
    }
  }
  return found;
}
