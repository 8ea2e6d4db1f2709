import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { isFinished } from '../api/migration.ts';
import { group, version } from '../api/names.ts';
import type { Informer } from '../kube/informer.ts';
import type { Migration } from '../kube/resources.ts';

export type Measures = ReturnType<typeof measuresOf>;

/** What the controller tells of itself on /metrics. */
export function measuresOf(metrics: Registry, all: Informer<Migration>) {
  const gauge = new Gauge({
    name: 'podferry_migrations',
    help: 'Migrations by phase.',
    labelNames: ['phase'],
    registers: [metrics],
    collect() {
      this.reset();
      for (const migration of all.list()) this.inc({ phase: migration.status?.phase ?? 'Pending' });
    },
  });
  const active = new Gauge({
    name: 'podferry_migrations_active',
    help: 'Migrations that are not finished.',
    registers: [metrics],
    collect() {
      this.set(all.list().filter((migration) => !isFinished(migration)).length);
    },
  });
  return {
    gauge,
    active,
    reconcile: new Histogram({ name: 'podferry_reconcile_seconds', help: 'Time of one look at a Migration.', registers: [metrics] }),
    queue: new Histogram({
      name: 'podferry_queue_reckoning_seconds',
      help: 'Time of one reckoning of the queue of Migrations that wait for their turn.',
      registers: [metrics],
      buckets: [0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1, 5],
    }),
    failures: new Counter({
      name: 'podferry_reconcile_failures_total',
      help: `Steps of ${group}/${version} Migrations that failed and are tried again.`,
      registers: [metrics],
    }),
  };
}
