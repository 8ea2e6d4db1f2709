import { codec, type Metric } from './protocol.ts';

/**
 * What of a task's metrics CRIU would write, bytes: anonymous and shared memory. Undefined when they are of another kind (a
 * runtime with a virtual machine) or without memory (its controller is off).
 */
export function memoryIn(data: Metric['data'] | undefined): number | undefined {
  const bytes = Buffer.from(data?.value ?? []);
  switch (data?.type_url.split('/').at(-1)) {
    case 'io.containerd.cgroups.v1.Metrics': {
      const { memory } = codec('CgroupV1Metrics').decode(bytes) as { memory: CgroupV1Memory | null };
      // total_rss has huge pages in it, but no shared memory, which v1 counts as cache and these metrics do not name. The lists
      // of anonymous pages have it (seen with a file in /dev/shm), but lack what is locked.
      return memory ? Math.max(memory.total_rss, memory.total_inactive_anon + memory.total_active_anon) : undefined;
    }
    case 'io.containerd.cgroups.v2.Metrics': {
      const { memory } = codec('CgroupV2Metrics').decode(bytes) as { memory: CgroupV2Memory | null };
      return memory ? memory.anon + memory.shmem : undefined;
    }
    default:
      return undefined;
  }
}

interface CgroupV1Memory {
  total_rss: number;
  total_inactive_anon: number;
  total_active_anon: number;
}

interface CgroupV2Memory {
  anon: number;
  shmem: number;
}
