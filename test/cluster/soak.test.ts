import { soak } from '../soak/soak.ts';
import { useNamespace } from './support/space.ts';

const space = useNamespace('test-soak');

it('Redis under load and a pod with a journal move back and forth, and nothing is lost or left', async () => {
  const report = await soak(space, { moves: 8, quietMoves: 0, faultEvery: 4, seed: 7, say: () => undefined });
  expect(report).toMatchObject({ lost: 0, journalFaults: [], leftovers: [], faults: 2 });
  expect(report.succeeded + report.rolledBack).toBe(8);
  expect(report.succeeded).toBeGreaterThanOrEqual(6);
  expect(report.acknowledged).toBeGreaterThan(1000);
}, 600_000);
