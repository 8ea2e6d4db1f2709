import { downtimePlot, downtimeTable, markdown, partsPlot, sharesTable, slopes } from '../../bench/document.ts';
import { spread } from '../../bench/plot.ts';
import { joined, type Results, type Trial, type Way } from '../../bench/results.ts';
import { median } from '../../bench/statistics.ts';
import { partsBetween } from '../../bench/trial.ts';

const trial = (way: Way, mebibytes: number, downtime: number): Trial => ({
  mebibytes,
  load: 'random',
  containers: 1,
  way,
  repetition: 1,
  at: '2026-11-25T00:00:00.000Z',
  downtime,
  total: downtime + 1000,
  parts: [
    { name: 'checkpoint', milliseconds: downtime / 2 },
    { name: 'start', milliseconds: downtime / 2 },
  ],
  startParts: [{ name: 'sandbox', milliseconds: downtime / 2 }],
  wireBytes: 3 << 20,
  writtenBytes: { source: 1 << 20, destination: 2 << 20, control: 0 },
  cpuSeconds: { source: 1, destination: 2, control: 3 },
  agentPeakBytes: { source: 90 << 20, destination: 80 << 20 },
  agentFileBytes: { source: 60 << 20, destination: 60 << 20 },
});

const results: Results = {
  begun: '2026-11-25T00:00:00.000Z',
  ended: '2026-11-25T00:40:00.000Z',
  commit: 'abc',
  machine: { processors: 2, memoryMebibytes: 24_000, kernel: '6', kubernetes: 'v1', containerd: 'v2', loadAverage: [1, 2] },
  trials: [
    trial('documented', 64, 3000),
    trial('podferry', 64, 1000),
    trial('documented', 64, 5000),
    trial('podferry', 64, 900),
    trial('documented', 64, 4000),
    trial('podferry', 64, 1100),
  ],
  floors: [{ mebibytes: 64, repetition: 1, dump: 200, restore: 100, plainPod: 500 }],
  failures: [],
  skipped: ['4 GiB: no room'],
};

describe('docs/performance.md', () => {
  it('has medians, ranges, ratios and the floor', () => {
    expect(downtimeTable(results).split('\n').at(-1)).toBe(
      '| 64 MiB random, 1 container | 3 | 4.00 s (3.00 s–5.00 s) | – | – | 1.00 s (900 ms–1.10 s) | 4.0 | 800 ms | 1.25 |',
    );
  });

  it('says whose the time is', () => {
    const rows = sharesTable(results).split('\n').slice(2);
    expect(rows.map((row) => row.split('|').at(-2)?.trim())).toEqual(['20 %', '0 %', '50 %', '30 %']);
    expect(markdown(results)).toContain('| CRIU: dump | 200 ms |');
  });

  it('says what a MiB more costs; below the size where memory is sent ahead there is one way', () => {
    const larger = {
      ...results,
      trials: [...results.trials, trial('documented', 1024, 40_000), trial('cold', 1024, 8680), trial('podferry', 1024, 4840)],
      floors: [...results.floors, { mebibytes: 1024, repetition: 1, dump: 700, restore: 1000, plainPod: 500 }],
    };
    expect(slopes(larger, 64, 1024)).toEqual({ documented: 37.5, cold: 8, podferry: 4, floor: 1400 / 960 });
    expect(markdown(larger)).toContain(
      "podferry 4.00 ms (2.74 of the floor's), cold 8.00 ms (5.49 of the floor's), the floor 1.46 ms, the documented way 37.50 ms (25.71 of the floor's).",
    );
    expect(markdown(results)).not.toContain('A MiB more');
  });

  it('says what was left out', () => {
    expect(markdown(results)).toContain('- 4 GiB: no room');
  });

  it('draws what was measured', () => {
    expect(downtimePlot(results)).toContain('>documented way</text>');
    expect(downtimePlot(results)).not.toContain('NaN');
    expect(partsPlot(results)).toContain('<title>CRIU dump alone 200 ms</title>');
    expect(partsPlot(results)).not.toContain('NaN');
  });
});

describe('parts of a downtime', () => {
  it('end where the client was answered, whatever was noted later', () => {
    const marks = [
      { name: 'freeze', at: 90 },
      { name: 'checkpoint', at: 300 },
      { name: 'switch', at: 700 },
    ];
    expect(partsBetween(100, 600, marks, [], 700)).toEqual([
      { name: 'freeze', milliseconds: 0 },
      { name: 'checkpoint', milliseconds: 200 },
      { name: 'switch', milliseconds: 300 },
      { name: 'start', milliseconds: 0 },
    ]);
  });

  it('add up to it where only lengths are known', () => {
    const parts = partsBetween(0, 1000, [{ name: 'checkpoint', at: 400 }], [{ name: 'push', milliseconds: 250 }], 700);
    expect(parts.map(({ name }) => name)).toEqual(['checkpoint', 'push', 'other', 'start']);
    expect(parts.reduce((sum, { milliseconds }) => sum + milliseconds, 0)).toBe(1000);
  });
});

it('takes the middle of an even number of samples between two of them', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(() => median([])).toThrow(RangeError);
});

it('moves labels apart in their order', () => {
  expect(spread([100, 95, 200], 15)).toEqual([110, 95, 200]);
});

test('several runs make one document, which says so', () => {
  const later = {
    ...results,
    begun: '2026-11-26T00:00:00.000Z',
    ended: '2026-11-26T00:05:00.000Z',
    trials: [trial('podferry', 256, 2000)],
    floors: [],
  };
  const document = markdown(joined([results, later]));
  expect(document).toContain('from 2 runs on 2026-11-25, 2026-11-26 at commit abc, 45 minutes');
  expect(document).toMatch(/64 MiB random, 1 container \| 3 \|/);
  expect(document).toMatch(/256 MiB random, 1 container \| 1 \|/);
  expect(markdown(results)).toContain('from a run on 2026-11-25 at commit abc, 40 minutes');
});
