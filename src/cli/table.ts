import type { PodPreview, Verdict } from '../api/preview.ts';

const heads = ['NAMESPACE', 'POD', 'POLICY', 'WHAT', 'WHERE/WHY'] as const;

/** As kubectl has it. */
const gap = '   ';

/**
 * Rows in aligned columns, with a head.
 *
 * @param paint colours a word that is padded already; the columns stay aligned
 */
export function table(pods: readonly PodPreview[], paint: (verdict: Verdict, text: string) => string = (_verdict, text) => text): string {
  const rows = pods.map(({ namespace, name, policy = '-', verdict, message }) => [namespace, name, policy, verdict, message]);
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[], verdict?: Verdict) =>
    cells
      .map((cell, column) => {
        // The last one may be long: nothing is to be aligned with its end.
        const padded = column === heads.length - 1 ? cell : cell.padEnd(widths[column] ?? 0);
        return verdict && heads[column] === 'WHAT' ? paint(verdict, padded) : padded;
      })
      .join(gap);
  return [line(heads), ...rows.map((row, index) => line(row, pods[index]?.verdict))].map((text) => `${text}\n`).join('');
}
