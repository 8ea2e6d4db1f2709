import { type Way, ways } from './results.ts';

/** What is measured: kinds of pods, and how often each. */

export const loads = ['random', 'compressible', 'idle5'] as const;
export type Load = (typeof loads)[number];

/** A kind of pod: its memory, which all its containers share out, what is in it, and how many containers. */
export interface Cell {
  mebibytes: number;
  load: Load;
  containers: number;
  /** Without the usual one, for the token of its service account. */
  volumes?: false;
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
  withoutVolumes?: boolean;
}

/** How often each is moved each way. */
export const usualRepetitions = 5;

/** Every combination of what was chosen. 4 GiB, which takes minutes a move, only as the plainest pod unless it was asked for. */
export function plan({ sizes, loads: chosenLoads, containers, repetitions, ways: chosenWays, withoutVolumes }: Choice): PlannedCell[] {
  const without = withoutVolumes ? { volumes: false as const } : {};
  const cells: Cell[] = (sizes ?? defaultSizes).flatMap((mebibytes) =>
    (chosenLoads ?? loads).flatMap((load) =>
      (containers ?? defaultContainers).map((count) => ({ mebibytes, load, containers: count, ...without })),
    ),
  );
  return cells
    .filter((cell) => sizes || cell.mebibytes < 4096 || isPlain(cell))
    .map((cell) => ({ ...cell, repetitions: repetitions ?? usualRepetitions, ways: chosenWays ?? usualWays(cell) }));
}

/** What growth, parts and the floor are shown of. */
export const isPlain = ({ load, containers, volumes }: Cell) => load === 'random' && containers === 1 && volumes !== false;

/** For small pods it makes less of a difference whether memory is sent ahead. */
export function usualWays({ mebibytes }: Cell): Way[] {
  return ways.filter((way) => way !== 'cold' || mebibytes >= 256);
}

export function nameOf({ mebibytes, load, containers, volumes }: Cell): string {
  return `${sizeName(mebibytes)} ${load}, ${containers} container${containers === 1 ? '' : 's'}${volumes === false ? ', no volume' : ''}`;
}

export function sizeName(mebibytes: number): string {
  return mebibytes >= 1024 ? `${mebibytes / 1024} GiB` : `${mebibytes} MiB`;
}

export function sameCell(left: Cell, right: Cell): boolean {
  const keys = ['mebibytes', 'load', 'containers', 'volumes'] as const;
  return keys.every((key) => left[key] === right[key]);
}
