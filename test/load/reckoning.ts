import type { Migration } from '../../src/api/migration.ts';
import { labels, policyAnnotations } from '../../src/api/names.ts';
import { Admissions } from '../../src/controller/admissions.ts';

export interface Reckoned {
  waiting: number;
  /** One reckoning of the whole queue. Milliseconds. */
  once: number;
  /** A look of each that waits, one after the other: what a round of the queue costs. Milliseconds. */
  round: number;
}

/** What the queue costs the controller when so many wait and forty are under way. */
export function reckon(waiting: number): Reckoned {
  const nodes = Math.max(50, waiting / 20);
  const all = Array.from({ length: waiting + 40 }, (_, index) => migration(index, index >= waiting ? nodes : undefined));
  const byUid = new Map(all.map((one) => [one.metadata.uid ?? '', one]));
  const admissions = new Admissions({
    migrations: () => all,
    migration: (uid) => byUid.get(uid),
    migrationsTo: () => [],
    nodeOf: (_namespace, pod) => `node-${Number(pod.slice(4)) % nodes}`,
    limits: () => ({ perSource: 2, perDestination: 4, cluster: 40 }),
    disruptionsAllowed: () => Number.POSITIVE_INFINITY,
    wake: () => undefined,
    now: () => performance.now(),
  });
  const took = (work: () => void) => {
    const begun = performance.now();
    work();
    return Math.round((performance.now() - begun) * 10) / 10;
  };
  admissions.next();
  const once = Math.min(...[1, 2, 3].map(() => took(() => admissions.next())));
  const round = took(() => {
    for (const one of all.slice(0, waiting)) admissions.turnOf(one, []);
  });
  return { waiting, once, round };
}

function migration(index: number, runsOn?: number): Migration {
  return {
    apiVersion: 'podferry.io/v1alpha1',
    kind: 'Migration',
    metadata: {
      name: `move-${index}`,
      namespace: `load-${index % 10}`,
      uid: `uid-${index * 7919}`,
      creationTimestamp: new Date(1.79e12 + Math.floor(index / 100) * 1000).toISOString(),
      labels: { [labels.policy]: 'keep-state' },
      annotations: { [policyAnnotations.priority]: '0' },
    },
    spec: { pod: `pod-${index}` },
    ...(runsOn === undefined
      ? {}
      : { status: { phase: 'Shipping', source: { name: `pod-${index}`, uid: 'x', nodeName: `node-${index % runsOn}` } } }),
  };
}
