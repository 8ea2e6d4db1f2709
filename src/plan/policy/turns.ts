import type { PolicySpec } from '../../api/policy.ts';

/** A migration of a policy as the queue sees it. */
export interface Ticket {
  /** Of the Migration. */
  uid: string;
  policy: string;
  /** Node names; the destination is known from the preparation on, or when it was named. */
  source: string;
  destination?: string;
  /** Of the pod (PriorityClass): the higher first. */
  priority: number;
  /** When the Migration was made; RFC 3339. */
  created: string;
  /** The disruption budgets that count the pod, as `namespace/name`. */
  budgets: readonly string[];
}

export type Turn = { granted: true } | { granted: false; position: number; why: string };

export interface QueueState {
  waiting: readonly Ticket[];
  running: readonly Ticket[];
  limits(policy: string): PolicySpec['limits'];
  /** status.disruptionsAllowed of a budget. */
  disruptionsAllowed(budget: string): number;
}

/**
 * Whose turn it is. In the order of priority, then age; one that its limit holds back does not hold back another that
 * waits for something else. A budget allows as many as its status says, less those under way, which may not show there
 * yet: rather one too few than one too many.
 */
export function turnsOf({ waiting, running, limits, disruptionsAllowed }: QueueState): Map<string, Turn> {
  const turns = new Map<string, Turn>();
  const counts = new Map<string, number>();
  const add = (key: string) => counts.set(key, (counts.get(key) ?? 0) + 1);
  const count = (ticket: Ticket) => {
    for (const key of keysOf(ticket)) add(key);
  };
  running.forEach(count);
  const positions = new Map<string, number>();
  for (const ticket of [...waiting].sort(inOrder)) {
    const { perSource, perDestination, cluster } = limits(ticket.policy) ?? {};
    const bounds: [string, number | undefined, string][] = [
      [`cluster/${ticket.policy}`, cluster, 'migrations at once'],
      [`source/${ticket.policy}/${ticket.source}`, perSource, `migrations at once from node ${ticket.source}`],
      ...(ticket.destination === undefined
        ? []
        : ([
            [`destination/${ticket.policy}/${ticket.destination}`, perDestination, `migrations at once to node ${ticket.destination}`],
          ] satisfies [string, number | undefined, string][])),
    ];
    const full = bounds.find(([key, limit]) => limit !== undefined && (counts.get(key) ?? 0) >= limit);
    const spent = ticket.budgets.find((budget) => (counts.get(`budget/${budget}`) ?? 0) >= disruptionsAllowed(budget));
    if (!full && spent === undefined) {
      count(ticket);
      turns.set(ticket.uid, { granted: true });
      continue;
    }
    const position = (positions.get(ticket.policy) ?? 0) + 1;
    positions.set(ticket.policy, position);
    const why = full ? `policy ${ticket.policy} allows ${full[1]} ${full[2]}` : `disruption budget ${spent} allows no disruption now`;
    turns.set(ticket.uid, { granted: false, position, why });
  }
  return turns;
}

function keysOf({ policy, source, destination, budgets }: Ticket): string[] {
  return [
    `cluster/${policy}`,
    `source/${policy}/${source}`,
    ...(destination === undefined ? [] : [`destination/${policy}/${destination}`]),
    ...budgets.map((budget) => `budget/${budget}`),
  ];
}

function inOrder(left: Ticket, right: Ticket): number {
  return right.priority - left.priority || compare(left.created, right.created) || compare(left.uid, right.uid);
}

/** By code units, which is also the order of times in RFC 3339; comparing by language takes ten times as long. */
function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
