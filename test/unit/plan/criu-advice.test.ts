import { explainCriu, saysSo, tellingLines } from '../../../src/plan/criu-advice.ts';
import { criuMessages } from '../../../src/plan/criu-messages.ts';

/** Lines as CRIU, runc, containerd and the kubelet write them, and a word of the cure. */
const known: [string, RegExp][] = [
  ['(00.041210) Error (criu/sk-inet.c:137): inet: Unsupported proto 262 for socket 6d3', /GODEBUG=multipathtcp=0/],
  ["(00.052031) Error (criu/files-ext.c:98): Can't dump file 21 of that type [600] (unknown anon_inode:[io_uring])", /RuntimeDefault/],
  ["(00.021744) Error (criu/cr-dump.c:388): Can't get rlimit 0: Operation not permitted", /CAP_SYS_RESOURCE/],
  ['(00.033102) Error (criu/sk-inet.c:200): inet: Connected TCP socket, consider using --tcp-established option.', /runc\.conf/],
  ['(00.033102) Error (criu/sk-inet.c:185): inet: In-flight connection (l) for 5', /skip-in-flight/],
  ['(00.033108) Error (criu/sk-inet.c:186): inet: In-flight connections can be ignored with the --skip-in-flight option.', /tcp-close/],
  ['(00.003310) Error (criu/image.c:94): Need to set the --tcp-close options.', /tcp-close/],
  ['exec: "criu": executable file not found in $PATH', /install CRIU/],
  ['CRIU binary not found or too old (<31600). Failed to checkpoint container "1f0"', /install CRIU/],
  ['failed to pull checkpoint base image localhost:5001/x: not found', /agent on the destination/],
  ['(00.004120) Error (compel/src/lib/infect.c:261): Unseizable non-zombie 4711 found, state D, err -1/10', /quieter time/],
  ["(00.000910) Error (criu/kerndat.c:878): Can't create inotify: Too many open files", /max_user_instances/],
  ['criu failed: CRIU version 31400 must be 31500 or higher', /newest CRIU/],
  ['criu lacks support for external pid namespace during checkpointing process (old criu version?)', /newest CRIU/],
  ['(00.000931) Error (criu/kerndat.c:1962): check_pagemap failed when initializing kerndat.', /criu check/],
  ['(00.000940) Error (criu/crtools.c:280): Could not initialize kernel features detection.', /criu check/],
  ["(00.061100) Error (criu/files-ext.c:98): Can't dump file 17 of that type [20666] (chr 195:255)", /cuda_plugin/],
  ["(00.012031) Error (criu/proc_parse.c:663): Can't handle non-regular mapping on 406's map 7fc08d672000", /amdgpu_plugin/],
  ['(00.003300) Error (criu/image.c:198): Missing required plugin: cuda_plugin', /both nodes/],
  ["(00.061100) Error (criu/files-ext.c:98): Can't dump file 9 of that type [600] (anon anon_inode:[userfaultfd])", /CAP_BPF/],
  ["(00.061100) Error (criu/files-ext.c:98): Can't dump file 9 of that type [600] (anon anon_inode:[perf_event])", /CAP_PERFMON/],
  ["(00.061100) Error (criu/files-ext.c:98): Can't dump file 9 of that type [600] (anon anon_inode:bpf-prog)", /RuntimeDefault/],
  ["(00.061100) Error (criu/files-ext.c:94): Can't dump file 8 of that type [600] (anon anon_inode:[pidfd])", /CRIU 4\.1/],
  ['(00.061100) Error (criu/pidfd.c:97): pidfd: pidfd pid 12 is not a part of process tree..', /CRIU 4\.1/],
  ['(00.061100) Error (criu/pidfd.c:88): pidfd: PIDFD_THREAD flag is currently not supported', /CRIU 4\.1/],
  ['(00.041210) Error (criu/sk-inet.c:137): inet: Unsupported proto 132 for socket 6d3', /turn that protocol off/],
  ['(00.041210) Error (criu/sockets.c:767): sockets: BUG! Unknown socket collected (family 40)', /turn that protocol off/],
  ['(00.071220) Error (criu/sk-unix.c:874): unix: External socket is used. Consider using --ext-unix-sk option.', /close that/],
  ["(00.071) Error (criu/sk-unix.c:881): unix: Can't dump half of stream unix connection. name: (null); peer name: /tmp/f", /or use TCP/],
  ["(00.071220) Error (criu/sk-unix.c:888): unix: Can't dump name-less external socket.", /close that/],
  ['(00.031)   12: Error (criu/sk-unix.c:1912): unix: External socket found in image. Consider using the --ext-unix-sk option', /TCP/],
  ['(00.071220) Error (criu/sk-unix.c:418): unix: Unix socket 84467 without peer 84466', /close that/],
  ['(00.071220) Error (criu/sk-unix.c:428): unix: Unix socket 84467 with unreachable peer 84466 (0)', /close that/],
  ['(00.071220) Error (criu/sk-unix.c:479): unix: Dangling connection 84467', /again/],
  ['(00.071220) Error (criu/sk-unix.c:494): unix: In-flight connection on non-listening socket 84467', /again/],
  ['(00.071220) Error (criu/sk-unix.c:506): unix: Non-empty write queue on an in-flight socket 0x149f3', /again/],
  ['(00.071220) Error (criu/sk-unix.c:525): unix: Found a closed in-flight socket to 0x149f3', /again/],
  ['(00.05) Error (criu/file-lock.c:110): Some file locks are hold by dumping tasks! You can try --file-locks to dump them.', /file-locks/],
  ['(00.081) Error (criu/tty.c:1830): tty: Found dangling tty with sid 7 pgid 7 (pts) on peer fd 0.', /tty and stdin/],
  ['Task attached to shell terminal. Consider using --shell-job option. More details on http://criu.org/Simple_loop', /tty and stdin/],
  ["(00.081)     98: Error (criu/tty.c:1010): tty: Don't have tty to inherit session from, aborting", /tty and stdin/],
  ['(00.005210) Error (criu/seize.c:882): Zombies with threads are not supported', /restart that process/],
  ['(00.005210) Error (criu/seize.c:939): Zombie thread not supported', /restart that process/],
  ['(00.011080) Error (criu/proc_parse.c:614): PID 4711 has uprobes vma. Consider using --allow-uprobes.', /allow-uprobes/],
  ["(00.004120) Error (compel/src/lib/infect.c:322): Can't dump the 4711 thread with a pending SIGTRAP.", /end the tracing/],
  ["(00.055120) Error (criu/fsnotify.c:284): fsnotify: \tCan't dump that handle", /irmap-scan-path/],
  ["(00.055120) Error (criu/fsnotify.c:263): fsnotify: Can't find suitable path for handle (dev 0x2d ino 0x3): -2", /force-irmap/],
  ["(00.055)   1: Error (criu/fsnotify.c:565): fsnotify: Can't add watch for 0x9 with 0x1: No space left on device", /max_user_watches/],
  ["(00.055)   1: Error (criu/fsnotify.c:664): fsnotify: Can't create inotify for 0x000021: Too many open files", /max_user_instances/],
  ["(00.047) Error (criu/files-reg.c:1031): Can't dump ghost file /tmp/a of 2097152 size, increase limit", /ghost-limit/],
  ["(00.047) Error (criu/files-reg.c:1122): Can't create link remap for /tmp/a. Use link-remap option.", /has link-remap/],
  ['(00.047) Error (criu/files-reg.c:1444): Unaccessible path opened 45:12, need 45:11', /open it anew/],
  [
    '(00.047) Error (criu/files-reg.c:1796): Open files on overmounted mounts are not supported yet; mount=12 fd=3 path=data/a',
    /open it anew/,
  ],
  ["(00.007387) Error (criu/mount.c:753): mnt: 637:./usr/lib/firmware/gsp.bin doesn't have a proper root mount", /not in the pod/],
  ['(00.007387) Error (criu/mount.c:724): mnt: FS mnt ./mnt dev 0x2f root / unsupported id 640', /not in the pod/],
  ['(00.007387) Error (criu/filesystems.c:552): ./mnt is a fuse mount but not external', /not in the pod/],
  [
    '(00.007387) Error (criu/mount.c:1092): mnt: Mount 7894 ./data (master_id: 26 shared_id: 0) has unreachable sharing. Try --enable-external-masters.',
    /mountPropagation/,
  ],
  ['(00.012)      1: Error (criu/mount.c:3141): mnt: No mapping for 651:./data mountpoint', /mounts of both pods/],
  ["(00.006100) Error (criu/namespaces.c:460): Can't dump nested pid namespace for 4711", /--no-sandbox/],
  ['(10.000731) Error (criu/seize.c:635): Unable to freeze cgroup /sys/fs/cgroup/x (100 x 100lms attempts, timeout: 10s)', /timeout/],
  ['(10.000000) Error (criu/cr-dump.c:1808): Timeout reached. Try to interrupt: 0', /timeout/],
  ['(00.039087) Error (compel/src/lib/infect.c:711): Unable to connect a transport socket: Permission denied', /Unconfined/],
  ["(00.205511) pie: 12: Error (criu/pie/restorer.c:196): can't write lsm profile -2", /same profiles/],
  ['(00.205511) Error (criu/apparmor.c:604): failed to write policy in AA namespace x', /same profiles/],
  ['(00.004120) Error (compel/src/lib/ptrace.c:27): suspending seccomp failed: Operation not permitted', /CONFIG_CHECKPOINT_RESTORE/],
  ["(00.004120) Error (criu/seccomp.c:149): Can't fetch filter on tid_real 12 i 0: Permission denied", /CONFIG_CHECKPOINT_RESTORE/],
  ['pie: 12: Error (criu/pie/restorer.c:546): seccomp: SECCOMP_SET_MODE_FILTER returned -13 on tid 12', /seccomp filter/],
  ['(00.002120) Error (criu/arch/x86/cpu.c:223): cpu: CPU instruction capabilities do not match run time', /kind of CPU/],
  ['(00.002120) Error (criu/arch/x86/cpu.c:297): cpu: CPU capabilities do not match run time', /kind of CPU/],
  ['(00.002120) Error (criu/arch/x86/cpu.c:262): cpu: CPU xfeatures has unsupported bits (0x200)', /kind of CPU/],
  ['(00.002120) Error (criu/arch/x86/cpu.c:274): cpu: CPU xsave size mismatch (2696/832)', /kind of CPU/],
  ['(00.002120) Error (criu/arch/x86/cpu.c:278): cpu: CPU xsave max size mismatch (2696/832)', /kind of CPU/],
  ['(00.002) Error (criu/arch/x86/cpu.c:247): cpu: FPU feature required by image is not supported on host (fpu:0 fxsr:1)', /kind of CPU/],
  ["(00.010220) Error (criu/cr-restore.c:1230): Can't fork for 7: File exists", /shareProcessNamespace/],
  ['(00.010220)      7: Error (criu/cr-restore.c:1539): Pid 9 do not match expected 7', /shareProcessNamespace/],
  ["(00.064)  1: Error (criu/files-reg.c:2353): Can't open file data/a on restore: No such file or directory", /image and volumes/],
  ['(00.064)     1: Error (criu/files-reg.c:2175): File usr/bin/bash has bad size 1199896 (expect 866600)', /image and volumes/],
  ['(00.064)     1: Error (criu/files-reg.c:2294): File data/a has bad mode 0100600 (expect 0100644)', /image and volumes/],
  ['(00.064)     1: Error (criu/files-reg.c:2153): File usr/bin/bash has bad build-ID', /image and volumes/],
  ["(00.071)  1: Error (criu/sk-inet.c:1059): inet: Can't bind inet socket (id 115): Cannot assign requested address", /0\.0\.0\.0/],
  ["(00.071)  1: Error (soccr/soccr.c:499): Can't bind inet socket back: Cannot assign requested address", /0\.0\.0\.0/],
  ['(00.003310) Error (criu/image.c:89): Not supported images version 9', /same CRIU/],
  ["(00.003310) Error (criu/image.c:563): Magic doesn't match for core-1.img", /same CRIU/],
  ["(00.003310) Error (criu/image.c:554): Head magic doesn't match for core-1.img", /same CRIU/],
  ['(00.003310) Error (criu/cr-restore.c:854): Core march mismatch 3', /one architecture/],
  ["(00.310220) Error (criu/image.c:845): Can't write img file: No space left on device", /make room/],
  ['(00.310220) Error (criu/bfd.c:131): Error flushing image: No space left on device', /make room/],
  ['(00.310220) Error (criu/page-xfer.c:263): Unable to spice data: No space left on device', /make room/],
  ['write /var/lib/kubelet/checkpoints/checkpoint-a.tar: no space left on device', /make room/],
  ['(00.110220)      1: Error (criu/mem.c:964): Unable to map ANON_VMA: Cannot allocate memory', /free memory/],
  ["(00.110220) Error (criu/cr-restore.c:1230): Can't fork for 7: Cannot allocate memory", /free memory/],
  ["(00.110220)      1: Error (criu/shmem.c:526): Can't mmap shmem 0x12 size=4096: Cannot allocate memory", /huge pages/],
  ["(00.015) Error (criu/cgroup.c:1140): cg: Can't move 12 into x/cgroup.procs (-1/7): No space left on device", /manage-cgroups/],
  ['(00.015) Error (criu/cgroup.c:1490): cg: Failed writing 1 to x/cpuset.cpus: Invalid argument', /manage-cgroups/],
  ["(00.015) Error (criu/cgroup.c:1805): cg: Can't make cgroup dir x: Read-only file system", /manage-cgroups/],
  ["(00.015) Error (criu/cgroup.c:1800): cg: Cgroup dir x doesn't exist", /manage-cgroups/],
  ['(00.013210) Error (criu/netfilter.c:105): Iptables configuration failed', /network-lock skip/],
  ['(00.013210) Error (criu/netfilter.c:226): Locking network failed using nftables', /network-lock skip/],
  ['(00.013210) Error (criu/netfilter.c:276): Locking connection failed using nftables', /network-lock skip/],
];

/** In every log of a node that may not raise its limits (measured). */
const rlimit = "(00.001102) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted";

/** What the kubelet answers, whatever CRIU said. */
const kubelet = 'container app: the kubelet answered 500: criu failed: type NOTIFY errno 0 path= /run/x/criu-dump.log: unknown';

describe('what is known', () => {
  it.each(known)('%s', (message, cure) => {
    const explained = explainCriu(message);
    expect(explained).toMatch(cure);
    expect(explained).toMatch(/; to cure it, /);
    // What is known is told in words; CRIU's own stay out of it.
    expect(explained).not.toMatch(/Error|criu\/sk-|failed to pull/);
  });

  it.each(known)('is explained by one row only: %s', (message) => {
    expect(criuMessages.filter((candidate) => saysSo(candidate, message))).toHaveLength(1);
  });

  it.each(criuMessages)('has an example: $says', (row) => {
    const seen = known.filter(([message]) => saysSo(row, message));
    expect(seen).not.toEqual([]);
  });
});

describe('a log of several lines', () => {
  const mptcp = '(00.041210) Error (criu/sk-inet.c:137): inet: Unsupported proto 262 for socket 6d3';
  const failed =
    '(00.052) Error (criu/cr-dump.c:1698): Dump files (pid: 9) failed with -1\n(00.09) Error (criu/cr-dump.c:2128): Dumping FAILED.';

  it('is explained by the first line that is known', () => {
    expect(explainCriu(`Warn: whatever\n${mptcp}\n${failed}`)).toMatch(/Multipath TCP/);
    const disk = "(00.03) Error (criu/image.c:845): Can't write img file: No space left on device";
    expect(explainCriu(`${disk}\n${mptcp}`)).toMatch(/disk/);
    expect(explainCriu(`${mptcp}\n${disk}`)).toMatch(/Multipath TCP/);
  });

  it('is explained as the agent of the source joins it', () => {
    expect(explainCriu(`${kubelet}; CRIU: ${rlimit}; ${mptcp}; ${failed.replace('\n', '; ')}`)).toMatch(/Multipath TCP/);
  });

  it('is quoted without noise and timestamps when it is not known', () => {
    const said = 'Error (criu/mem.c:1): something new';
    expect(explainCriu(`${kubelet}; CRIU: ${rlimit}; (00.02)     12: ${said}; ${failed.replace('\n', '; ')}`)).toBe(`${kubelet}; ${said}`);
    expect(explainCriu(`${kubelet}; CRIU: (00.02) ${said}; ${rlimit}`)).toBe(`${kubelet}; CRIU: ${said}`);
  });

  it('keeps what came after when nothing says why', () => {
    expect(tellingLines(`${rlimit}\n${failed}`)).toEqual([
      'Error (criu/cr-dump.c:1698): Dump files (pid: 9) failed with -1',
      'Error (criu/cr-dump.c:2128): Dumping FAILED.',
    ]);
  });

  it('is not explained by what every log has', () => {
    expect(explainCriu(`${kubelet}; CRIU: ${rlimit}`)).toBe(kubelet);
    expect(explainCriu(rlimit)).toBe(rlimit);
  });
});

test.each(['', 'Error (criu/mem.c:1): something new', 'the kubelet answered 404'])('%j is not known and quoted', (message) => {
  expect(explainCriu(message)).toBe(message);
});
