import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseCpuinfo, readCpu } from '../../../src/agent/cpu.ts';
import { Cleanup } from '../image/fixtures.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

test('amd64: the flags that all processors have, and not those of other lines', () => {
  const processor = (flags: string) =>
    `processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some CPU with flags\nflags\t\t: ${flags}\nvmx flags\t: vnmi ept\nbugs\t\t: spectre_v1\n\n`;
  expect(parseCpuinfo(processor('fpu sse2 avx2') + processor('fpu sse2') + processor('fpu sse2 avx2'))).toEqual({
    vendor: 'GenuineIntel',
    features: ['fpu', 'sse2'],
  });
});

test('arm64, s390x, and what says nothing', () => {
  expect(parseCpuinfo('processor\t: 0\nFeatures\t: fp asimd atomics\nCPU implementer\t: 0x41\n')).toEqual({
    vendor: '0x41',
    features: ['fp', 'asimd', 'atomics'],
  });
  expect(parseCpuinfo('vendor_id       : IBM/S390\nfeatures\t: esan3 zarch vx \n')).toEqual({
    vendor: 'IBM/S390',
    features: ['esan3', 'zarch', 'vx'],
  });
  expect(parseCpuinfo('processor\t: 0\ncpu\t\t: POWER9\n')).toEqual({ vendor: '', features: [] });
});

test('it is read each time', async () => {
  const path = join(cleanup.directory(), 'cpuinfo');
  await writeFile(path, 'flags : fpu avx2\n');
  expect((await readCpu(path)).features).toEqual(['fpu', 'avx2']);
  await writeFile(path, 'flags : fpu\n');
  expect((await readCpu(path)).features).toEqual(['fpu']);
  expect((await readCpu()).architecture).toMatch(/^[a-z0-9]+$/);
});
