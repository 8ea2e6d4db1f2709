import { allFaults, type Fault } from './faults.ts';
import { type Configuration, type Found, search } from './search.ts';

/** All kinds of faults but these. */
export function allBut(...left: Fault[]): Fault[] {
  return allFaults.filter((kind) => !left.includes(kind));
}

/** Runs a search and prints its figures. */
export function run(name: string, configuration: Configuration): Found {
  const found = search(configuration);
  const { states, depth, seconds } = found;
  const { budget, timers } = configuration.start;
  process.stdout.write(
    `model: ${name}: ${states} states, depth ${depth}, ${budget} faults, ${timers} timers, ${seconds.toFixed(1)} s${found.cut ? ' (cut off)' : ''}\n`,
  );
  return found;
}

/** Runs a search that must find nothing. */
export function expectSafe(name: string, configuration: Configuration): void {
  const { counterexample, cut } = run(name, configuration);
  if (counterexample)
    throw new Error(`${counterexample.problem}\n${counterexample.steps.map((step, index) => `${index + 1}. ${step}`).join('\n')}`);
  expect(cut).toBe(false);
}

/** Runs a search that must find this. */
export function expectFound(name: string, configuration: Configuration, problem: RegExp): void {
  const { counterexample } = run(name, { limit: 150_000, ...configuration });
  expect(counterexample?.problem).toMatch(problem);
}
