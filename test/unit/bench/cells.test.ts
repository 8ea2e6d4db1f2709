import { nameOf, plan } from '../../bench/cells.ts';

describe('the plan of a run', () => {
  it('moves each kind of pod five times', () => {
    expect(plan({})).toHaveLength(25);
    expect(plan({}).filter(({ repetitions }) => repetitions < 5)).toEqual([]);
  });

  it('tells pods without volumes from the others', () => {
    const [cell] = plan({ sizes: [64], loads: ['random'], containers: [1], withoutVolumes: true });
    expect(cell).toMatchObject({ volumes: false });
    expect(cell && nameOf(cell)).toBe('64 MiB random, 1 container, no volume');
  });

  it('takes 4 GiB only as a plain pod, unless it is asked for', () => {
    expect(
      plan({})
        .filter(({ mebibytes }) => mebibytes === 4096)
        .map(nameOf),
    ).toEqual(['4 GiB random, 1 container']);
    expect(plan({ sizes: [4096] })).toHaveLength(6);
  });

  it('combines what was chosen, as often as was said', () => {
    expect(plan({ sizes: [64], loads: ['idle5'], containers: [1, 3], repetitions: 2, ways: ['cold'] })).toEqual([
      { mebibytes: 64, load: 'idle5', containers: 1, repetitions: 2, ways: ['cold'] },
      { mebibytes: 64, load: 'idle5', containers: 3, repetitions: 2, ways: ['cold'] },
    ]);
  });

  it('moves small pods with and without memory sent ahead only when that was asked for', () => {
    const waysOf = (mebibytes: number) => plan({ sizes: [mebibytes], loads: ['random'], containers: [1] })[0]?.ways;
    expect(waysOf(64)).toEqual(['documented', 'podferry']);
    expect(waysOf(256)).toEqual(['documented', 'cold', 'podferry']);
  });
});
