/** `make bench`: the documented way and podferry by turns, in the lab. What it can do: `--help`. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { messageOf } from '../../src/util/errors.ts';
import { closeCluster } from '../cluster/support/cluster.ts';
import { host } from '../cluster/support/lab.ts';
import { Bench, sayTrial, versions } from './bench.ts';
import { type Choice, isPlain, loads, nameOf, type PlannedCell, plan, usualRepetitions } from './cells.ts';
import { downtimeTable, writeDocument } from './document.ts';
import { joined, type Results, ways } from './results.ts';
import { noRoomFor } from './room.ts';

const project = join(import.meta.dirname, '../..');
const directory = join(process.env.PODFERRY_CACHE ?? '/var/cache/podferry', 'bench');
const say = (words: string) => process.stderr.write(`bench: ${words}\n`);

const numbers = (words: string) =>
  words.split(',').map((word) => {
    const value = Number(word);
    if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('whole numbers with commas between them');
    return value;
  });
const anyOf =
  <Name extends string>(names: readonly Name[]) =>
  (words: string) =>
    words.split(',').map((word) => {
      const found = names.find((name) => name === word);
      if (!found) throw new InvalidArgumentError(`any of ${names.join(',')}`);
      return found;
    });

interface Options extends Choice {
  quick?: boolean;
  document?: [string, ...string[]];
}

const options = new Command('make bench')
  .usage('ARGS="[options]"')
  .description(
    'Moves pods between the nodes of the lab by the documented way and by podferry, with and without sending memory ahead, by turns. Writes what it measured to ' +
      `${directory}, and after a full run (no options) docs/performance.md; a table goes to standard output. Exit code 1 when a move failed.`,
  )
  .addOption(new Option('--sizes <list>', 'memory of the pods in MiB: 16,64,256,1024,4096').argParser(numbers))
  .addOption(new Option('--loads <list>', `what is in it: ${loads.join(',')}`).argParser(anyOf(loads)))
  .addOption(new Option('--containers <list>', 'containers a pod: 1,3').argParser(numbers))
  .addOption(
    new Option('--repetitions <n>', `moves of each kind and way; left out: ${usualRepetitions}`).argParser((word) => numbers(word)[0]),
  )
  .addOption(new Option('--ways <list>', `how they are moved: ${ways.join(',')}`).argParser(anyOf(ways)))
  .option('--without-volumes', 'pods without the token of their service account, which is a volume')
  .option('--quick', 'one move each of 16 and 64 MiB, to see that it works')
  .option('--document <file...>', 'measure nothing, write docs/performance.md from the results of earlier runs')
  .parse()
  .opts<Options>();

/** Filled while it runs, and written after every kind of pod, so that an interrupted run is not lost. */
async function measure(options: {
  bench: Bench;
  cells: PlannedCell[];
  results: Results;
  save(): Promise<void>;
  signal: AbortSignal;
}): Promise<void> {
  const { bench, cells, results, save, signal } = options;
  const movesOf = ({ repetitions, ways }: PlannedCell) => repetitions * ways.length;
  const moves = cells.reduce((sum, cell) => sum + movesOf(cell), 0);
  let done = 0;
  for (const planned of cells) {
    const { repetitions, ways, ...cell } = planned;
    signal.throwIfAborted();
    const lacking = await noRoomFor(cell.mebibytes);
    if (lacking) {
      results.skipped.push(`${nameOf(cell)}: ${lacking}`);
      say(`left out: ${lacking}`);
      done += movesOf(planned);
      continue;
    }
    const failed = (way: Results['failures'][number]['way'], repetition: number) => (error: unknown) => {
      signal.throwIfAborted();
      results.failures.push({ ...cell, way, repetition, message: messageOf(error) });
      say(`${nameOf(cell)}, ${way}: FAILED: ${messageOf(error)}`);
    };
    for (let repetition = 1; repetition <= repetitions; repetition++) {
      const trials = await bench.each(cell, ways, repetition, (way, error) => failed(way, repetition)(error));
      results.trials.push(...trials);
      done += ways.length;
      for (const trial of trials) say(`${done}/${moves} ${sayTrial(trial)}`);
      // As often as what is compared with it is moved, and no oftener.
      if (isPlain(cell) && repetition <= usualRepetitions) {
        await bench
          .floor(cell.mebibytes, repetition)
          .then((floor) => results.floors.push(floor))
          .catch(failed('floor', repetition));
      }
    }
    await save();
  }
}

async function newResults(): Promise<Results> {
  const commit = (await host('git', '-C', project, 'describe', '--always', '--dirty').catch(() => 'unknown')).trim();
  const machine = { processors: availableParallelism(), memoryMebibytes: totalmem() / 2 ** 20, kernel: release(), ...(await versions()) };
  const begun = new Date().toISOString();
  return {
    begun,
    ended: begun,
    commit,
    machine: { ...machine, loadAverage: loadavg().slice(0, 1) },
    trials: [],
    floors: [],
    failures: [],
    skipped: [],
  };
}

async function run(signal: AbortSignal): Promise<void> {
  const { quick, document, ...choice } = options;
  if (document) {
    const read = async (file: string) => JSON.parse(await readFile(file, 'utf8')) as Results;
    const [first, ...rest] = document;
    await writeDocument(join(project, 'docs'), joined([await read(first), ...(await Promise.all(rest.map(read)))]));
    return;
  }
  const chosen = quick ? { sizes: [16, 64], loads: ['random' as const], containers: [1], repetitions: 1, ...choice } : choice;
  const cells = plan(chosen);
  const results = await newResults();
  const file = join(directory, `${results.begun.replaceAll(/[:.]/g, '-')}.json`);
  const save = async () => {
    results.ended = new Date().toISOString();
    results.machine.loadAverage[1] = loadavg()[0] ?? 0;
    await mkdir(directory, { recursive: true });
    await writeFile(file, `${JSON.stringify(results, null, 1)}\n`);
  };
  say(`${cells.length} kinds of pods; load average ${results.machine.loadAverage[0]?.toFixed(1)}`);
  const bench = await Bench.open('bench');
  try {
    const measuring = measure({ bench, cells, results, save, signal });
    measuring.catch(() => undefined);
    await Promise.race([measuring, new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))]);
  } finally {
    await save();
    say('cleaning up');
    await bench.close();
  }
  process.stdout.write(`${downtimeTable(results)}\n`);
  say(`raw results: ${file}`);
  if (results.failures.length) process.exitCode = 1;
  else if (Object.keys(options).length === 0) await writeDocument(join(project, 'docs'), results);
}

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    process.exitCode = signal === 'SIGINT' ? 130 : 143;
    interrupted.abort(new Error('interrupted'));
  });
}

try {
  await run(interrupted.signal);
} catch (error) {
  say(messageOf(error));
  process.exitCode ??= 1;
}
await closeCluster();
// A move that was interrupted may still wait for something.
process.exit();
