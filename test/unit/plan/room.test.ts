import { diskNeeded, lackOfRoom, type PlannedCheckpoint, refuseRoom, reserve } from '../../../src/plan/room.ts';

const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;

test.each<[string, Omit<PlannedCheckpoint, 'memory'>, number, number]>([
  ['by the runtime, memory beside the archive', { way: 'runtime', beside: true }, 1, 1],
  ['by the runtime, memory in the archive (transfer Registry)', { way: 'runtime', beside: false }, 1, 3],
  ['by the kubelet', { way: 'kubelet', beside: false }, 3, 3],
])('%s', (_what, how, source, destination) => {
  const once = 1072 * mebibyte;
  expect(diskNeeded({ memory: gibibyte, ...how })).toEqual({ source: source * once, destination: destination * once });
});

test('next to no memory needs some disk all the same', () => {
  expect(diskNeeded({ memory: 0, way: 'runtime', beside: true })).toEqual({ source: 16 * mebibyte, destination: 16 * mebibyte });
});

test.each([
  [0, reserve, undefined],
  [gibibyte, gibibyte + reserve, undefined],
  [gibibyte, 100 * gibibyte, undefined],
  [gibibyte, gibibyte + reserve - 1, 'about 1.0 GiB are needed and 256 MiB have to stay free, but only 1.2 GiB are free'],
  [0, reserve - mebibyte, 'about 0 MiB are needed and 256 MiB have to stay free, but only 255 MiB are free'],
  [1.26 * gibibyte, 0, 'about 1.3 GiB are needed and 256 MiB have to stay free, but only 0 MiB are free'],
  [50 * mebibyte, mebibyte, 'about 50 MiB are needed and 256 MiB have to stay free, but only 1 MiB are free'],
])('%d bytes on a disk with %d free', (need, free, lack) => {
  expect(lackOfRoom(need, free)).toBe(lack);
});

describe('a pod', () => {
  const beside: PlannedCheckpoint = { memory: gibibyte, way: 'runtime', beside: true };
  const refusal = (checkpoint: PlannedCheckpoint, source: number | undefined, destination: number | undefined) =>
    refuseRoom('shop/web', checkpoint, { name: 'node node-a', free: source }, { name: 'node node-b', free: destination });

  test('that fits on both nodes, or of whose disks nothing is known', () => {
    expect(refusal(beside, 2 * gibibyte, 2 * gibibyte)).toBeUndefined();
    expect(refusal(beside, undefined, undefined)).toBeUndefined();
  });

  test('that does not fit on its own node', () => {
    const message =
      'pod shop/web was not frozen and runs on, since its checkpoint does not fit on node node-a: about 1.0 GiB are needed and ' +
      '256 MiB have to stay free, but only 512 MiB are free. Make room there under /var/lib/podferry and migrate again';
    expect(refusal(beside, 512 * mebibyte, 0)).toBe(message);
    expect(refusal(beside, 512 * mebibyte, undefined)).toBe(message);
  });

  test('that does not fit on the destination', () => {
    expect(refusal(beside, undefined, 512 * mebibyte)).toBe(
      'pod shop/web was not frozen and runs on, since its checkpoint does not fit on node node-b: about 1.0 GiB are needed and ' +
        '256 MiB have to stay free, but only 512 MiB are free. Make room there under /var/lib/podferry and migrate again, or choose ' +
        'another destination',
    );
  });

  test('with the memory in its archive: the runtime copies it', () => {
    const inside: PlannedCheckpoint = { memory: gibibyte, way: 'kubelet', beside: false };
    expect(refusal(inside, 2 * gibibyte, undefined)).toMatch(
      /node node-a: about 3\.1 GiB .* under \/var\/lib\/kubelet and \/var\/lib\/containerd/,
    );
    expect(refusal(inside, undefined, 2 * gibibyte)).toMatch(
      /node node-b: about 3\.1 GiB .* under \/var\/lib\/podferry and \/var\/lib\/containerd/,
    );
  });
});
