import { handle, kubectl, onNode } from '../cluster/support/lab.ts';
import { Space } from '../cluster/support/space.ts';
import { BaseRegistry } from './base-registry.ts';
import { type Cell, nameOf } from './cells.ts';
import { Client } from './client.ts';
import { DocumentedWay, removeImages } from './documented.ts';
import { measureFloor, sweepFloor } from './floor.ts';
import { NodeShell } from './node-shell.ts';
import { Podferry } from './podferry.ts';
import { destination, source } from './pods.ts';
import type { Floor, Trial, Way } from './results.ts';
import { runTrial } from './trial.ts';

/** What trials need of the lab, from `open` to `close`. */
export class Bench {
  readonly #space: Space;
  readonly #registry = new BaseRegistry();
  readonly #client = new Client();
  readonly #movers: { documented: DocumentedWay; cold: Podferry; podferry: Podferry };

  private constructor(space: Space) {
    this.#space = space;
    this.#movers = {
      documented: new DocumentedWay(space),
      cold: new Podferry(space, { warmRounds: 0 }),
      podferry: new Podferry(space),
    };
  }

  /** @param name of a namespace of its own; what an earlier run left in it is removed */
  static async open(name: string): Promise<Bench> {
    const space = new Space(name);
    await space.remove();
    await handle('namespace', name);
    const bench = new Bench(space);
    try {
      await bench.#registry.start();
      await bench.#movers.documented.prepare();
      await bench.#movers.documented.cleanUp();
      return bench;
    } catch (error) {
      await bench.close();
      throw error;
    }
  }

  trial(way: Way, cell: Cell, repetition: number): Promise<Trial> {
    return runTrial({ space: this.#space, client: this.#client, mover: this.#movers[way], way, cell, repetition });
  }

  /** All ways after each other, who is first changing; a failed one is left out. */
  async each(cell: Cell, ways: Way[], repetition: number, failed: (way: Way, error: unknown) => void): Promise<Trial[]> {
    const trials: Trial[] = [];
    const first = repetition % ways.length;
    for (const way of [...ways.slice(first), ...ways.slice(0, first)]) {
      try {
        trials.push(await this.trial(way, cell, repetition));
      } catch (error) {
        failed(way, error);
      }
    }
    return trials;
  }

  floor(mebibytes: number, repetition: number): Promise<Floor> {
    return measureFloor(this.#space, this.#client, mebibytes, repetition);
  }

  /** Takes away everything that trials made, also what one that was interrupted was in the midst of. */
  async close(): Promise<void> {
    await this.#client.close();
    for (const mover of Object.values(this.#movers)) mover.close();
    const shell = new NodeShell(source);
    try {
      await sweepFloor(shell);
      await this.#space.remove();
      const documented = new DocumentedWay(this.#space);
      await documented.cleanUp();
      documented.close();
      for (const node of [source, destination]) await removeImages(node, 'localhost:5001/');
    } finally {
      shell.close();
      await this.#registry.close();
    }
  }
}

/** What a run has to say of where it ran. */
export async function versions(): Promise<{ kubernetes: string; containerd: string }> {
  const { serverVersion } = JSON.parse(await kubectl('version', '-o', 'json')) as { serverVersion: { gitVersion: string } };
  const [, , containerd = ''] = (await onNode(source, 'containerd', '--version')).trim().split(/\s+/);
  return { kubernetes: serverVersion.gitVersion, containerd };
}

export function sayTrial({ way, downtime, total, ...trial }: Trial): string {
  return `${nameOf(trial)}, ${way}: stopped for ${downtime} ms, done after ${(total / 1000).toFixed(1)} s`;
}
