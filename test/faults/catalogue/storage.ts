import { kubectl, onNode } from '../../cluster/support/lab.ts';
import type { Fault } from '../fault.ts';
import { breakCriu, fillDisk, largeDisk, signalPodferry, smallDisk } from '../inject.ts';

const checkpoints = '/var/lib/podferry/checkpoints';
const content = '/var/lib/podferry/content';

/** Waits on the node for the first file that matches, and does something to it. */
const toFirst = (node: string, find: string, action: string) =>
  onNode(
    node,
    'sh',
    '-ec',
    `for i in $(seq 400); do f=$(${find} | head -n 1); [ -z "$f" ] || break; sleep 0.05; done; [ -n "$f" ]; ${action}`,
  );

/** There is room when that is looked at, before the freeze, and none a moment later. */
const filledBySomebody = (side: 'source' | 'destination', directory: string): Omit<Fault, 'name'> => ({
  at: 'Checkpointing',
  memory: 512,
  prepare: (trial) => smallDisk(trial[side], directory, 2500),
  inject: (trial) => fillDisk(trial[side], directory),
  heal: (trial) => largeDisk(trial[side], directory),
  lasts: 4000,
});

export const storage: Fault[] = [
  { name: 'disk of the source filled by somebody while it checkpoints', ...filledBySomebody('source', checkpoints) },
  { name: 'disk of the destination filled by somebody while the archive arrives', ...filledBySomebody('destination', content) },
  {
    name: 'disk full on the source when it checkpoints',
    at: 'Preparing',
    inject: ({ source }) => smallDisk(source, checkpoints, 1),
    heal: ({ source }) => largeDisk(source, checkpoints),
    lasts: 4000,
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: 'disk full on the destination when the archive arrives',
    at: 'Preparing',
    inject: ({ destination }) => smallDisk(destination, content, 8),
    heal: ({ destination }) => largeDisk(destination, content),
    lasts: 4000,
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: 'archive cut short at rest on the source',
    at: 'Checkpointing',
    // The agent stands still while the file is damaged.
    inject: async ({ source }) => {
      await signalPodferry(source, 'agent', 'STOP');
      await toFirst(source, `find ${checkpoints} -name "pages-*.img" -size +2M`, 'sleep 2; truncate -s 2M "$f"');
    },
    heal: ({ source }) => signalPodferry(source, 'agent', 'CONT'),
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: 'archive damaged at rest on the destination',
    at: 'Holding',
    inject: async ({ destination }) => {
      await toFirst(
        destination,
        `find ${content} -path "*blobs*" -size +1M`,
        'printf X | dd of="$f" bs=1 seek=1000000 conv=notrunc 2>/dev/null',
      );
    },
    phase: 'Failed',
  },
  {
    name: 'archive gone at rest on the destination',
    at: 'Holding',
    inject: async ({ destination }) => {
      await toFirst(destination, `find ${content} -path "*blobs*" -size +1M`, 'rm -f "$f"');
    },
    phase: 'Failed',
  },
  {
    name: 'archive damaged in the registry',
    at: 'Checkpointing',
    transfer: 'Registry',
    memory: 256,
    // Nobody fetches it before it is damaged.
    inject: async ({ destination }) => {
      await signalPodferry(destination, 'agent', 'STOP');
      await toFirst(
        'control',
        'find /lab/registry -path "*blobs*" -name data -size +3M -mmin -0.5',
        'printf XXXX | dd of="$f" bs=1 seek=1000000 conv=notrunc 2>/dev/null',
      );
    },
    heal: ({ destination }) => signalPodferry(destination, 'agent', 'CONT'),
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: "base image gone from the destination's runtime",
    at: 'Shipping',
    inject: async ({ destination }) => {
      await onNode(
        destination,
        'sh',
        '-ec',
        'ctr -n k8s.io images ls -q | grep -E "test/counter|localhost:9441" | xargs -r ctr -n k8s.io images rm --sync',
      );
    },
  },
  {
    name: 'CRIU of the destination does not work',
    at: 'Preparing',
    inject: ({ destination }) => breakCriu(destination, true),
    heal: ({ destination }) => breakCriu(destination, false),
    lasts: 12_000,
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: 'CRIU of the source does not work',
    at: 'Preparing',
    inject: ({ source }) => breakCriu(source, true),
    heal: ({ source }) => breakCriu(source, false),
    lasts: 6000,
    expected: 'stayed',
    phase: 'Failed',
  },
  {
    name: 'CRIU works nowhere any more once the archive was shipped',
    at: 'Shipping',
    inject: async ({ source, destination }) => {
      await Promise.all([breakCriu(source, true), breakCriu(destination, true)]);
    },
    heal: async ({ source, destination, space }) => {
      // Until a person is told, or it has ended otherwise.
      for (let tries = 0; tries < 300; tries++) {
        const condition = await kubectl(
          '-n',
          space.name,
          'get',
          'mig',
          'move',
          '-o',
          'jsonpath={.status.phase} {.status.conditions[?(@.type=="Stalled")].reason}',
        );
        if (/Archived|Failed|Succeeded/.test(condition)) break;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await Promise.all([breakCriu(source, false), breakCriu(destination, false)]);
    },
    expected: 'stayed',
    phase: 'Failed',
    limit: 180_000,
  },
];
