/**
 * `make load [PODS=1000] [NODES=50] [ASK=5] [REPORT=FILE] [LOGS=DIRECTORY]`: pods are asked for again after ASK seconds; prints the report as JSON (into the file if one is named); exit code 1
 * when a bound is exceeded. A run of the full size writes docs/scale.md; `DOCUMENT=1` with a report writes it again from that.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { type Measured, writeDocument } from './document.ts';
import { load } from './load.ts';
import { memoryOf } from './objects-memory.ts';
import { reckon } from './reckoning.ts';
import { problemsOf } from './report.ts';
import { full, optionsOf } from './sizes.ts';

const { PODS, NODES, ASK, LOGS: logs, REPORT: file, DOCUMENT: again } = process.env;
const size = {
  ...full,
  pods: Number(PODS || full.pods),
  nodes: Number(NODES || full.nodes),
  askAgain: ASK ? Number(ASK) * 1000 : full.askAgain,
};
const say = (text: string) => process.stderr.write(`load: ${text}\n`);
const document = join(import.meta.dirname, '../../docs/scale.md');

async function measure(): Promise<Measured> {
  const before = loadavg()[0] ?? 0;
  const begun = performance.now();
  const report = await load({ ...optionsOf(size, say), ...(logs ? { logs } : {}) });
  const took = Math.round((performance.now() - begun) / 1000);
  return {
    report,
    took,
    loadAverage: [before, loadavg()[0] ?? 0],
    objects: memoryOf(report.samples),
    reckoned: [1000, 10_000, 100_000].map(reckon),
    date: new Date().toISOString().slice(0, 10),
    version: report.version,
    problems: problemsOf(report, size.bounds),
  };
}

const measured = again && file ? (JSON.parse(await readFile(file, 'utf8')) as Measured) : await measure();
const text = `${JSON.stringify(measured, null, 2)}\n`;
if (file) await writeFile(file, text);
else process.stdout.write(text);
if (measured.report.pods === full.pods && measured.report.nodes === full.nodes) await writeDocument(document, measured);
for (const problem of measured.problems) say(problem);
process.stdout.write(measured.problems.length ? '0 passed, 1 failed\n' : '1 passed, 0 failed\n');
if (measured.problems.length) process.exitCode = 1;
