import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Cell, isPlain, nameOf, sameCell, sizeName } from './cells.ts';
import { duration, logPlot, stackedBars } from './plot.ts';
import { type Floor, type Part, type Results, type Trial, type Way, ways } from './results.ts';
import { median, summarize } from './statistics.ts';
import { text } from './words.ts';

/** docs/performance.md and its plots, from the results of a run. */
export async function writeDocument(directory: string, results: Results): Promise<void> {
  await Promise.all([
    writeFile(join(directory, 'performance.md'), markdown(results)),
    writeFile(join(directory, 'performance-downtime.svg'), downtimePlot(results)),
    writeFile(join(directory, 'performance-parts.svg'), partsPlot(results)),
  ]);
}

export function markdown(results: Results): string {
  return text(results, {
    downtime: downtimeTable(results),
    growth: growth(results),
    usage: usageTable(results),
    parts: [partsTables(results), floorTable(results)].join('\n\n'),
    shares: sharesTable(results),
  });
}

/** Kinds of pods in the order in which they were measured. */
function cellsOf({ trials }: Results): Cell[] {
  const cells: Cell[] = [];
  for (const { mebibytes, load, containers, volumes } of trials) {
    const cell: Cell = { mebibytes, load, containers, ...(volumes === false && { volumes }) };
    if (!cells.some((each) => sameCell(each, cell))) cells.push(cell);
  }
  const plainFirst = (cell: Cell) => (cell.load === 'random' ? 0 : cell.load === 'idle5' ? 1 : 2) * 10 + cell.containers;
  return cells.sort((left, right) => plainFirst(left) - plainFirst(right) || left.mebibytes - right.mebibytes);
}

function trialsOf({ trials }: Results, cell: Cell, way: Way): Trial[] {
  return trials.filter((trial) => trial.way === way && sameCell(trial, cell));
}

function floorsOf({ floors }: Results, mebibytes: number): Floor[] {
  return floors.filter((floor) => floor.mebibytes === mebibytes);
}

/** Dump, restore and a pod's start, medians. Milliseconds; undefined when it was not measured. */
function floorOf(results: Results, mebibytes: number): { dump: number; restore: number; plainPod: number; sum: number } | undefined {
  const floors = floorsOf(results, mebibytes);
  if (floors.length === 0) return undefined;
  const of = (key: 'dump' | 'restore' | 'plainPod') => median(floors.map((floor) => floor[key]));
  const [dump, restore, plainPod] = [of('dump'), of('restore'), of('plainPod')];
  return { dump, restore, plainPod, sum: dump + restore + plainPod };
}

function withRange(samples: number[], show: (value: number) => string): string {
  if (samples.length === 0) return '–';
  const { median: middle, minimum, maximum } = summarize(samples);
  return samples.length === 1 ? show(middle) : `${show(middle)} (${show(minimum)}–${show(maximum)})`;
}

function ratio(documented: number[], podferry: number[]): string {
  return documented.length && podferry.length ? `${(median(documented) / median(podferry)).toFixed(1)}` : '–';
}

function table(head: string[], rows: string[][]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

export function downtimeTable(results: Results): string {
  const rows = cellsOf(results).map((cell) => {
    const of = (way: Way) => trialsOf(results, cell, way).map(({ downtime }) => downtime);
    const [documented, cold, podferry] = [of('documented'), of('cold'), of('podferry')];
    const floor = cell.containers === 1 && cell.volumes !== false ? floorOf(results, cell.mebibytes) : undefined;
    return [
      nameOf(cell),
      `${Math.max(documented.length, podferry.length)}`,
      withRange(documented, duration),
      withRange(cold, duration),
      ratio(documented, cold),
      withRange(podferry, duration),
      ratio(documented, podferry),
      floor ? duration(floor.sum) : '–',
      floor && podferry.length ? (median(podferry) / floor.sum).toFixed(2) : '–',
    ];
  });
  return table(['pod', 'moves', 'documented', 'cold', 'ratio', 'podferry', 'ratio', 'floor', 'podferry / floor'], rows);
}

/** What a MiB more costs between two sizes, of random content in one container. Milliseconds. */
export function slopes(results: Results, from: number, to: number): Partial<Record<Way | 'floor', number>> {
  const downtimeOf = (size: number, way: Way) => {
    const trials = trialsOf(results, { mebibytes: size, load: 'random', containers: 1 }, way);
    return trials.length ? median(trials.map(({ downtime }) => downtime)) : undefined;
  };
  const between = (low: number | undefined, high: number | undefined) =>
    low === undefined || high === undefined ? undefined : (high - low) / (to - from);
  // Below the size from which memory is sent ahead there is only one way.
  const cold = between(downtimeOf(from, 'cold') ?? downtimeOf(from, 'podferry'), downtimeOf(to, 'cold'));
  const found = {
    documented: between(downtimeOf(from, 'documented'), downtimeOf(to, 'documented')),
    cold,
    podferry: between(downtimeOf(from, 'podferry'), downtimeOf(to, 'podferry')),
    floor: between(floorOf(results, from)?.sum, floorOf(results, to)?.sum),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

const mebibytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)}`;
const seconds = (value: number) => value.toFixed(1);

function growth(results: Results): string {
  return [1024, 4096].map((to) => growthTo(results, to)).join('');
}

/** In a sentence. Empty when those sizes were not measured. */
function growthTo(results: Results, to: number): string {
  const from = 64;
  const { documented, cold, podferry, floor } = slopes(results, from, to);
  if (!documented || !podferry || !floor) return '';
  const each = (value: number) => `${value.toFixed(2)} ms (${(value / floor).toFixed(2)} of the floor's)`;
  const words = [
    `podferry ${each(podferry)}`,
    ...(cold ? [`cold ${each(cold)}`] : []),
    `the floor ${floor.toFixed(2)} ms`,
    `the documented way ${each(documented)}`,
  ];
  return `A MiB more of random memory costs, from ${sizeName(from)} to ${sizeName(to)}: ${words.join(', ')}.\n\n`;
}

export function usageTable(results: Results): string {
  const rows = cellsOf(results).flatMap((cell) =>
    ways.flatMap((way) => {
      const trials = trialsOf(results, cell, way);
      if (trials.length === 0) return [];
      const middle = (of: (trial: Trial) => number) => median(trials.map(of));
      const own = (at: 'source' | 'destination') =>
        Math.max(...trials.map(({ agentPeakBytes, agentFileBytes }) => agentPeakBytes[at] - agentFileBytes[at]));
      return [
        [
          nameOf(cell),
          way,
          withRange(
            trials.map(({ total }) => total),
            duration,
          ),
          duration(middle(({ silence }) => silence ?? 0)),
          mebibytes(middle(({ wireBytes }) => wireBytes)),
          mebibytes(middle(({ writtenBytes }) => writtenBytes.source)),
          mebibytes(middle(({ writtenBytes }) => writtenBytes.destination)),
          mebibytes(middle(({ writtenBytes }) => writtenBytes.control)),
          seconds(middle(({ cpuSeconds }) => cpuSeconds.source)),
          seconds(middle(({ cpuSeconds }) => cpuSeconds.destination)),
          seconds(middle(({ cpuSeconds }) => cpuSeconds.control)),
          way === 'documented' ? '–' : `${mebibytes(own('source'))}, ${mebibytes(own('destination'))}`,
        ],
      ];
    }),
  );
  const head = [
    'pod',
    'way',
    'total',
    'silence',
    'wire',
    'written: source',
    'destination',
    'registry',
    'CPU: source',
    'destination',
    'control',
  ];
  return table([...head, 'agent peak'], rows);
}

/** Medians of parts that carry the same name, in the order of the first trial. */
function medians(trials: Trial[], of: (trial: Trial) => Part[]): { name: string; value: number }[] {
  const names = [...new Set(trials.flatMap((trial) => of(trial).map(({ name }) => name)))];
  return names.map((name) => ({
    name,
    value: median(trials.map((trial) => of(trial).find((part) => part.name === name)?.milliseconds ?? 0)),
  }));
}

const plainCells = (results: Results) => cellsOf(results).filter(isPlain);

function partsTables(results: Results): string {
  return (['podferry', 'cold', 'documented'] as const)
    .map((way) => {
      const cells = plainCells(results).filter((cell) => trialsOf(results, cell, way).length > 0);
      const measured = cells.map((cell) => {
        const trials = trialsOf(results, cell, way);
        const start = medians(trials, ({ startParts }) => startParts).map(({ name, value }) => ({ name: `start: ${name}`, value }));
        return [...medians(trials, ({ parts }) => parts), ...start];
      });
      const names = [...new Set(measured.flatMap((parts) => parts.map(({ name }) => name)))];
      const rows = names.map((name) => [name, ...measured.map((parts) => duration(parts.find((part) => part.name === name)?.value ?? 0))]);
      return table([`${way}: part`, ...cells.map((cell) => sizeName(cell.mebibytes))], rows);
    })
    .join('\n\n');
}

function floorTable(results: Results): string {
  const measured = plainCells(results).flatMap(({ mebibytes }) => {
    const floor = floorOf(results, mebibytes);
    return floor ? [{ mebibytes, floor }] : [];
  });
  const rows = (['dump', 'restore', 'plainPod'] as const).map((part) => [
    part === 'plainPod' ? 'a plain pod' : `CRIU: ${part}`,
    ...measured.map(({ floor }) => duration(floor[part])),
  ]);
  return table(['floor: part', ...measured.map(({ mebibytes }) => sizeName(mebibytes))], rows);
}

/** What of podferry's downtime is whose. */
export function sharesTable(results: Results): string {
  const measured = plainCells(results).flatMap((cell) => {
    const trials = trialsOf(results, cell, 'podferry');
    const floor = floorOf(results, cell.mebibytes);
    if (trials.length === 0 || !floor) return [];
    const start = medians(trials, ({ startParts }) => startParts);
    const of = (...names: string[]) => start.reduce((sum, { name, value }) => sum + (names.includes(name) ? value : 0), 0);
    const whole = median(trials.map(({ downtime }) => downtime));
    const [dump, restore, kubernetes] = [Math.min(floor.dump, whole), of('start'), of('sandbox', 'create', 'rest')];
    const shares = [dump, restore, kubernetes, whole - dump - restore - kubernetes].map((part) => `${Math.round((100 * part) / whole)} %`);
    return [{ size: sizeName(cell.mebibytes), shares }];
  });
  const names = [
    "CRIU's dump alone",
    "start: start (CRIU's restore)",
    'start: sandbox, create, rest (Kubernetes, runtime)',
    "podferry's own",
  ];
  return table(
    ["share of podferry's downtime", ...measured.map(({ size }) => size)],
    names.map((name, index) => [name, ...measured.map(({ shares }) => shares[index] as string)]),
  );
}

export function downtimePlot(results: Results): string {
  const cells = plainCells(results);
  const series = ways.map((way) => ({
    name: wayNames[way],
    points: cells.flatMap((cell) => {
      const samples = trialsOf(results, cell, way).map(({ downtime }) => downtime);
      if (samples.length === 0) return [];
      const { median: y, minimum: low, maximum: high } = summarize(samples);
      return [{ x: cell.mebibytes, y, low, high }];
    }),
  }));
  const floor = {
    name: 'floor',
    points: cells.flatMap(({ mebibytes: x }) => {
      const sums = floorsOf(results, x).map(({ dump, restore, plainPod }) => dump + restore + plainPod);
      if (sums.length === 0) return [];
      const { median: y, minimum: low, maximum: high } = summarize(sums);
      return [{ x, y, low, high }];
    }),
  };
  return logPlot({
    title: 'Downtime over memory, random content, one container: medians and ranges',
    ticks: cells.map(({ mebibytes: at }) => ({ at, label: sizeName(at) })),
    series: [...series, floor].filter(({ points }) => points.length > 0),
  });
}

export function partsPlot(results: Results): string {
  const groups = plainCells(results).map((cell) => {
    const bars = (['cold', 'podferry'] as const).flatMap((way) => {
      const trials = trialsOf(results, cell, way);
      if (trials.length === 0) return [];
      const parts = medians(trials, ({ parts: own }) => own).filter(({ name }) => name !== 'start');
      const start = medians(trials, ({ startParts }) => startParts).map(({ name, value }) => ({ name: startNames[name] ?? name, value }));
      return [{ name: wayNames[way], parts: [...parts, ...start.filter(({ value }) => value > 0)] }];
    });
    const floor = floorOf(results, cell.mebibytes);
    if (floor) {
      bars.push({
        name: 'floor',
        parts: [
          { name: 'CRIU dump alone', value: floor.dump },
          { name: 'a plain pod', value: floor.plainPod },
          { name: 'CRIU restore alone', value: floor.restore },
        ],
      });
    }
    return { name: sizeName(cell.mebibytes), bars };
  });
  return stackedBars({ title: "Parts of podferry's downtime against the floor, random content, one container: medians", groups });
}

const wayNames: Record<Way, string> = { documented: 'documented way', cold: 'podferry, cold', podferry: 'podferry' };

const startNames: Record<string, string> = {
  sandbox: 'start: sandbox',
  pull: 'start: pull',
  create: 'start: create container',
  start: 'start: restore',
  rest: 'start: kubelet, network',
};
