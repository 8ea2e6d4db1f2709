import { type Way, ways } from './results.ts';

/** What is measured: kinds of pods, and how often each. */

export const loads = ['random', 'compressible', 'idle5'] as const;
export type Load = (typeof loads)[number];

/** A kind of pod: its memory, which all its containers share out, what is in it, and how many containers. */
export interface Cell {
  mebibytes: number;
  load: Load;
  containers: number;
}

export interface PlannedCell extends Cell {
  repetitions: number;
  /** How it is moved, by turns. */
  ways: Way[];
}

export const defaultSizes = [16, 64, 256, 1024, 4096];
export const defaultContainers = [1, 3];

export interface Choice {
  sizes?: number[];
  loads?: Load[];
  containers?: number[];
  repetitions?: number;
  ways?: Way[];
}

/** Every combination of what was chosen. 4 GiB, which takes minutes a move, only as the plainest pod unless it was asked for. */
export function plan({ sizes, loads: chosenLoads, containers, repetitions, ways: chosenWays }: Choice): PlannedCell[] {
  const cells = (sizes ?? defaultSizes).flatMap((mebibytes) =>
    (chosenLoads ?? loads).flatMap((load) => (containers ?? defaultContainers).map((count) => ({ mebibytes, load, containers: count }))),
  );
  return cells
    .filter((cell) => sizes || cell.mebibytes < 4096 || isPlain(cell))
    .map((cell) => ({ ...cell, repetitions: repetitions ?? usualRepetitions(cell), ways: chosenWays ?? usualWays(cell) }));
}

const isPlain = ({ load, containers }: Cell) => load === 'random' && containers === 1;

/** Five where figures are promised, fewer elsewhere, so that a full run takes about 45 minutes. */
export function usualRepetitions(cell: Cell): number {
  if (cell.mebibytes >= 4096) return 1;
  if (isPlain(cell) || (cell.load === 'idle5' && cell.containers === 1)) return 5;
  return cell.mebibytes < 1024 ? 3 : 1;
}

/** For small pods it makes little difference whether memory is sent ahead. */
export function usualWays({ mebibytes }: Cell): Way[] {
  return ways.filter((way) => way !== 'cold' || mebibytes >= 256);
}

export function nameOf({ mebibytes, load, containers }: Cell): string {
  return `${sizeName(mebibytes)} ${load}, ${containers} container${containers === 1 ? '' : 's'}`;
}

export function sizeName(mebibytes: number): string {
  return mebibytes >= 1024 ? `${mebibytes / 1024} GiB` : `${mebibytes} MiB`;
}

export function sameCell(left: Cell, right: Cell): boolean {
  return left.mebibytes === right.mebibytes && left.load === right.load && left.containers === right.containers;
}
