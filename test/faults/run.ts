/**
 * `make faults [ONLY=PATTERN] [KIND=Pod]`: every fault on every kind of pod it applies to, in the real cluster. A whole run
 * (without ONLY and KIND) writes docs/faults.md. Exit code 1 when a trial is no pass.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { closeCluster } from '../cluster/support/cluster.ts';
import { kubectl } from '../cluster/support/lab.ts';
import { Space } from '../cluster/support/space.ts';
import { catalogue } from './catalogue/index.ts';
import { type Fault, type Kind, kinds } from './fault.ts';
import { labIsWhole, podferryIsReady } from './inject.ts';
import { type Outcome, run } from './trial.ts';

const { ONLY: only = '', KIND: kind = '' } = process.env;
const say = (text: string) => process.stderr.write(`${text}\n`);

const wanted = catalogue.flatMap(({ title, faults }) =>
  faults
    .filter(({ name, at }) => new RegExp(only).test(`${name} ${at}`))
    .flatMap((fault) => (fault.kinds ?? kinds).filter((each) => !kind || each === kind).map((each) => ({ title, fault, kind: each }))),
);

const results: { title: string; fault: Fault; outcome: Outcome }[] = [];
try {
  await labIsWhole();
  await podferryIsReady();
  await new Space('faults').remove();
  for (const [index, { title, fault, kind: each }] of wanted.entries()) {
    const outcome = await run(fault, each as Kind);
    results.push({ title, fault, outcome });
    say(
      `${index + 1}/${wanted.length} ${outcome.problem ? 'FAIL' : 'ok  '} ${fault.name} @ ${outcome.struck} (${each}): ${outcome.end}; ${outcome.pod}; ${outcome.seconds} s${outcome.problem ? `\n     ${outcome.problem}` : ''}`,
    );
  }
  const failed = results.filter(({ outcome }) => outcome.problem).length;
  if (!only && !kind) await writeFile(join(import.meta.dirname, '../../docs/faults.md'), await document());
  process.stdout.write(`${results.length - failed} passed, ${failed} failed\n`);
  if (failed) process.exitCode = 1;
} finally {
  await closeCluster();
}

async function document(): Promise<string> {
  const version = (await kubectl('version', '-o', 'json').then((text) => JSON.parse(text) as { serverVersion: { gitVersion: string } }))
    .serverVersion.gitVersion;
  const passed = results.filter(({ outcome }) => !outcome.problem).length;
  const lines = [
    '# Faults',
    '',
    `Written by \`make faults\` from a run in the real cluster (Kubernetes ${version}, two nodes, containerd, CRIU) on ${new Date().toISOString().slice(0, 10)}; never edited by hand.`,
    `${passed} of ${results.length} trials passed. A trial: a counter with 64 MiB of random memory is moved from node-a to node-b, the fault strikes at`,
    'the phase given (or the next one that could be seen), and afterwards exactly one pod must run with the same memory, its count neither back nor',
    'ahead of time, and at no time two copies (looked at from outside every 25 ms). Where the memory was lost with the process itself, before it was',
    'frozen or because somebody asked for it, the pod is as it would be without podferry.',
  ];
  for (const { title } of catalogue) {
    lines.push(
      '',
      `## ${title}`,
      '',
      '| fault | phase wanted / struck | kind | migration | pod afterwards | seconds | |',
      '| --- | --- | --- | --- | --- | --- | --- |',
    );
    for (const { outcome } of results.filter((result) => result.title === title)) {
      const { fault, at, struck, kind: each, end, pod, seconds, problem } = outcome;
      lines.push(
        `| ${fault} | ${at} / ${struck} | ${each} | ${end} | ${pod} | ${seconds} | ${problem ? `**failed**: ${problem.replaceAll('|', '/').replaceAll('\n', ' ').slice(0, 300)}` : 'passed'} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}
