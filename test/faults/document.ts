import { writeFile } from 'node:fs/promises';
import { kubectl } from '../cluster/support/lab.ts';
import type { Kept } from './results.ts';

/**
 * The table of a whole run, as Markdown.
 *
 * @param source hash of the sources as they are now
 */
export async function writeDocument(path: string, results: { title: string; outcome: Kept }[], source: string): Promise<void> {
  const version = (await kubectl('version', '-o', 'json').then((text) => JSON.parse(text) as { serverVersion: { gitVersion: string } }))
    .serverVersion.gitVersion;
  const passed = results.filter(({ outcome }) => !outcome.problem).length;
  const earlier = results.filter(({ outcome }) => outcome.source !== source).length;
  const lines = [
    '# Faults',
    '',
    `Written by \`make faults\` from a run in the real cluster (Kubernetes ${version}, two nodes, containerd, CRIU) on ${new Date().toISOString().slice(0, 10)}; never edited by hand.`,
    `${passed} of ${results.length} trials passed. A trial: a counter with 64 MiB of random memory is moved from node-a to node-b, the fault strikes at`,
    'the phase given (or the next one that could be seen), and afterwards exactly one pod must run with the same memory, its count neither back nor',
    'ahead of time, and at no time two copies (looked at from outside every 25 ms). Where the memory was lost with the process itself, before it was',
    'frozen or because somebody asked for it, the pod is as it would be without podferry.',
    ...(earlier ? ['', `${earlier} of the trials ran with an earlier state of src and manifests than the rest (column "of").`] : []),
  ];
  for (const title of new Set(results.map((result) => result.title))) {
    lines.push(
      '',
      `## ${title}`,
      '',
      `| fault | phase wanted / struck | kind | migration | pod afterwards | seconds | |${earlier ? ' of |' : ''}`,
      `| --- | --- | --- | --- | --- | --- | --- |${earlier ? ' --- |' : ''}`,
    );
    for (const { outcome } of results.filter((result) => result.title === title)) {
      const { fault, at, struck, kind, end, pod, seconds, problem, source: of } = outcome;
      lines.push(
        `| ${fault} | ${at} / ${struck} | ${kind} | ${end} | ${pod} | ${seconds} | ${problem ? `**failed**: ${problem.replaceAll('|', '/').replaceAll('\n', ' ').slice(0, 300)}` : 'passed'} |${earlier ? ` ${of} |` : ''}`,
      );
    }
  }
  await writeFile(path, `${lines.join('\n')}\n`);
}
