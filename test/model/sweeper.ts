import { leftoversOf } from '../../src/plan/leftovers.ts';
import { isOver } from './copies.ts';
import { forgetSource } from './source-agent.ts';
import { forgetTarget } from './target-agent.ts';
import { answers, migrationOf, type Node, type Step, type World } from './world.ts';

const nodes: readonly Node[] = ['a', 'b'];

/** The controller's sweeper: what the agents still remember of migrations that are over (src/controller/sweeper.ts). */
export function sweepSteps(world: World): Step[] {
  return nodes.flatMap((node) => {
    if (!answers(world.nodes[node])) return [];
    return world.migs.flatMap((mig, m) => {
      if (!isOver(world, m)) return [];
      const uid = `${m}`;
      const target = mig.targets[node];
      const records = {
        sources: node === 'a' && mig.source ? [{ uid, state: mig.source.st }] : [],
        targets: target ? [{ uid, state: target.st }] : [],
      };
      const { sources, targets } = leftoversOf(records, () => (migrationOf(world, m).gone ? undefined : 'finished'));
      const swept = sources.length ? forgetSource(world, m) : undefined;
      return [
        ...(swept ? [{ label: 'sweeper: has the source forget the migration', world: swept }] : []),
        ...(targets.length ? [{ label: `sweeper: has node ${node} forget the migration`, world: forgetTarget(world, m, node) }] : []),
      ];
    });
  });
}
