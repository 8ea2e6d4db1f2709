import { hasCopy, running } from './copies.ts';
import { statusAt } from './statuses.ts';
import { processOf, type World } from './world.ts';

/** What must hold in every state, and at every step; a sentence when it does not. */
export function violation(before: World, after: World): string | undefined {
  for (const [m, mig] of after.migs.entries()) {
    const now = running(after, m);
    if (now.length > 1) return `I1: two copies run: ${now.join(' and ')}`;
    const was = before.migs[m];
    if (was?.committed) {
      const begun = now.find((uid) => processOf(before, uid)?.st !== 'run');
      if (begun) return `I1: ${begun} begins with old memory after the commit`;
    }
    if (!after.excused && !hasCopy(after, m)) return 'I2: the memory is gone';
    const targets = after.pods.filter((pod) => pod.kind === 'target' && pod.m === m);
    if (targets.length > 1) return `I4: two pods are the target of migration ${m}: ${targets.map(({ uid }) => uid).join(' and ')}`;
    const target = statusAt(mig.status).target?.uid;
    if (mig.committed && !was?.committed && target !== mig.ran) return `I2: committed to ${target}, which never ran with the memory`;
  }
  return undefined;
}
