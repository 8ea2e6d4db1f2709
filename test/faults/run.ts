/**
 * `make faults [ONLY=PATTERN] [KIND=Pod] [RETRY=1] [FRESH=1] [STALE=1]`: every fault on every kind of pod it applies to, in
 * the real cluster. Trials that have an outcome for these very sources are not run again, unless they failed (RETRY) or at all
 * (FRESH); with STALE those of other sources count too, and the table says so. Once all have one, docs/faults.md is written.
 * Exit code 1 when a trial is no pass.
 */
import { join } from 'node:path';
import { closeCluster } from '../cluster/support/cluster.ts';
import { catalogue } from './catalogue/index.ts';
import { writeDocument } from './document.ts';
import { type Kind, kinds } from './fault.ts';
import { labIsWhole, podferryIsReady } from './inject.ts';
import { Results } from './results.ts';
import { run, space } from './trial.ts';

const { ONLY: only = '', KIND: kind = '', RETRY: retry, FRESH: fresh, STALE: stale } = process.env;
const say = (text: string) => process.stderr.write(`${text}\n`);

const all = catalogue.flatMap(({ title, faults }) =>
  faults.flatMap((fault) => (fault.kinds ?? kinds).map((each: Kind) => ({ title, fault, kind: each }))),
);
const wanted = all.filter(({ fault, kind: each }) => new RegExp(only).test(`${fault.name} ${fault.at}`) && (!kind || each === kind));
const project = join(import.meta.dirname, '../..');
const results = await Results.open(project, Boolean(stale));

/** Runs what nobody has run, and is not running. */
async function runAll(): Promise<void> {
  await labIsWhole();
  await podferryIsReady();
  await space.remove();
  for (const [index, { fault, kind: each }] of wanted.entries()) {
    if ((await results.find(fault, each)) || !(await results.claim(fault, each))) continue;
    try {
      const outcome = await run(fault, each);
      await results.save(fault, each, outcome);
      say(
        `${index + 1}/${wanted.length} ${outcome.problem ? 'FAIL' : 'ok  '} ${fault.name} @ ${outcome.struck} (${each}): ${outcome.end}; ${outcome.pod}; ${outcome.seconds} s${outcome.problem ? `\n     ${outcome.problem}` : ''}`,
      );
    } finally {
      await results.release(fault, each);
    }
  }
}

async function outcomesOf(trials: typeof all) {
  const found = await Promise.all(trials.map(async (trial) => ({ ...trial, outcome: await results.find(trial.fault, trial.kind) })));
  return found.flatMap(({ outcome, ...trial }) => (outcome ? [{ ...trial, outcome }] : []));
}

try {
  if (fresh) await results.clear();
  if (retry) for (const { fault, kind: each, outcome } of await outcomesOf(wanted)) if (outcome.problem) await results.forget(fault, each);
  await runAll();
  const outcomes = await outcomesOf(all);
  if (outcomes.length === all.length) await writeDocument(join(project, 'docs/faults.md'), outcomes, results.source);
  const mine = await outcomesOf(wanted);
  const failed = mine.filter(({ outcome }) => outcome.problem).length;
  if (mine.length < wanted.length) say(`${wanted.length - mine.length} trials are being run by another process`);
  process.stdout.write(`${mine.length - failed} passed, ${failed} failed\n`);
  if (failed) process.exitCode = 1;
} finally {
  await space.remove();
  await closeCluster();
}
