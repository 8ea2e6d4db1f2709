/** What CRIU, or the runtime about it, says when it refuses: what it means, and what cures it. */
export interface CriuMessage {
  /** Words of the message that tell it from others; `…` stands for anything. */
  says: readonly [string, ...string[]];
  cause: string;
  cure: string;
  /** Where this was learnt: file and function of CRIU 4.2 unless it says otherwise, or what was run. */
  source: string;
}

/** No message is in two rows. docs/operations.md has the same rows for those who read the log themselves. */
export const criuMessages: readonly CriuMessage[] = [
  {
    says: ['Unsupported proto 262'],
    cause: 'a socket uses Multipath TCP, which CRIU cannot dump (Go 1.24 and later listen with it)',
    cure: 'start the container with the environment variable GODEBUG=multipathtcp=0',
    source: 'measured, Go 1.26 with CRIU 4.2.1; criu/sk-inet.c can_dump_ipproto',
  },
  {
    says: ['anon_inode:[io_uring]'],
    cause: 'the process uses io_uring, which CRIU cannot dump (Node.js 24 and others)',
    cure: 'set securityContext.seccompProfile.type to RuntimeDefault, which keeps io_uring away',
    source: 'measured, Node.js 24 with CRIU 4.2.1; criu/files-ext.c dump_unsupp_fd',
  },
  {
    says: ["Can't get rlimit"],
    cause: 'CRIU may not read the limits of a process of another user (it lacks CAP_SYS_RESOURCE on this node)',
    cure: 'give the node CAP_SYS_RESOURCE, or run the container as root there',
    source: 'measured, a node without CAP_SYS_RESOURCE; criu/cr-dump.c dump_task_rlimits',
  },
  {
    says: ['Connected TCP socket', 'In-flight connection (l)', 'In-flight connections can be ignored', '--tcp-close option'],
    cause: 'the process has open TCP connections and the CRIU of the node was not told to close them',
    cure: 'see that /etc/criu/runc.conf on the node has tcp-established, skip-in-flight and tcp-close (the podferry agent writes it)',
    source: 'measured, CRIU 4.2.1; criu/sk-inet.c can_dump_inet_sk, criu/image.c check_img_inventory',
  },
  {
    says: ['exec: "criu"', 'CRIU binary not found', 'criu binary not found', 'failed to find criu'],
    cause: 'CRIU is not installed on the node',
    cure: 'install CRIU 3.19 or later there (package criu)',
    source: 'runc and containerd: exec of criu; containerd 2.1 internal/cri/server/container_checkpoint_linux.go CheckpointContainer',
  },
  {
    says: ['failed to pull checkpoint base image', 'rootfsImageRef', 'not found … rootfs'],
    cause: 'the base image of the checkpoint could not be pulled on the destination',
    cure: 'see whether the podferry agent on the destination runs',
    source: 'containerd 2.1 internal/cri/server/container_checkpoint_linux.go',
  },
  {
    says: ['Unseizable non-zombie'],
    cause: 'a process could not be stopped, three times in a row: it was frozen between vfork and exec, or a debugger holds it',
    cure: 'move the pod at a quieter time, and without gdb or strace on it',
    source: 'measured, CRIU 4.2.1 with cgroup v1; compel/src/lib/infect.c compel_wait_task',
  },
  {
    says: ["Can't create inotify: Too many open files"],
    cause: 'the node has no inotify instances left for root, and CRIU needs one',
    cure: 'raise fs.inotify.max_user_instances there (128 unless it was changed)',
    source: 'measured, CRIU 4.2.1; criu/kerndat.c kerndat_has_inotify_setnextwd',
  },
  {
    says: [
      'CRIU version … must be … or higher',
      'criu lacks support for external',
      'Could not initialize kernel features detection',
      'failed when initializing kerndat',
    ],
    cause: 'the CRIU of the node is too old for its runtime or its kernel',
    cure: 'install the newest CRIU there, and see that criu check passes',
    source:
      'runc libcontainer/criu_linux.go compareCriuVersion and handleCheckpointingExternalNamespaces; criu/kerndat.c kerndat_init, criu/crtools.c main',
  },
  {
    says: ["Can't dump file … (chr", "Can't handle non-regular mapping on", 'Missing required plugin:'],
    cause: 'the process uses a device, such as a GPU or /dev/fuse, that the CRIU of the node cannot handle',
    cure: 'keep the device out of the pod, or install the CRIU plugin for it on both nodes (cuda_plugin, amdgpu_plugin)',
    source: 'criu/files.c dump_chrdev, criu/proc_parse.c handle_vma, criu/image.c check_inventory_plugins',
  },
  {
    says: ['anon_inode:[userfaultfd]', 'anon_inode:[perf_event]', 'anon_inode:bpf-prog'],
    cause: 'the process uses userfaultfd, perf events or eBPF programs, which CRIU cannot dump',
    cure: 'set securityContext.seccompProfile.type to RuntimeDefault and take CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF away, which keeps them off',
    source: 'criu/files.c dump_one_file, criu/files-ext.c dump_unsupp_fd; containerd 2.1 contrib/seccomp/seccomp_default.go',
  },
  {
    says: ['anon_inode:[pidfd]', 'is not a part of process tree', 'PIDFD_THREAD flag'],
    cause: 'the process holds a pidfd that CRIU cannot dump (older CRIU none, newer none of processes outside the container)',
    cure: 'install CRIU 4.1 or later on both nodes, or move the pod while no such process is watched',
    source: 'criu/pidfd.c dump_one_pidfd, new in 4.1',
  },
  {
    says: ['Unsupported proto 132', 'Unknown socket collected (family'],
    cause: 'a socket is of a kind that CRIU cannot dump (SCTP, vsock and others)',
    cure: 'turn that protocol off in the program',
    source: 'criu/sk-inet.c can_dump_ipproto, criu/sockets.c dump_socket',
  },
  {
    says: [
      'External socket is used',
      "Can't dump half of stream unix connection",
      "Can't dump name-less external socket",
      'External socket found in image',
      'Unix socket … without peer',
      'Unix socket … with unreachable peer',
    ],
    cause: 'the process is connected through a Unix socket to a process outside its container',
    cure: 'let it close that connection before the move (to a daemon of the node or another container of the pod), or use TCP',
    source: 'criu/sk-unix.c __dump_external_socket, dump_one_unix_fd and open_unixsk_standalone',
  },
  {
    says: [
      'Dangling connection',
      'In-flight connection on non-listening socket',
      'Non-empty write queue on an in-flight socket',
      'Found a closed in-flight socket',
    ],
    cause: 'a connection through a Unix socket was not accepted yet when the pod was frozen',
    cure: 'start the migration again',
    source: 'criu/sk-unix.c dump_one_unix_fd',
  },
  {
    says: ['Some file locks are hold by dumping tasks'],
    cause: 'the process holds locks on files',
    cure: 'add file-locks to /etc/criu/runc.conf on both nodes if no other pod uses these files',
    source: 'criu/file-lock.c note_file_lock and dump_file_locks; runc libcontainer/criu_linux.go handleCriuConfigurationFile',
  },
  {
    says: ['Found dangling tty', 'Task attached to shell terminal', "Don't have tty to inherit session from"],
    cause: 'the process has a terminal whose other end is outside the container',
    cure: 'set tty and stdin of the container to false, and end kubectl attach and exec',
    source: 'criu/tty.c dump_verify_tty_sids and pty_open_unpaired_slave',
  },
  {
    says: ['Zombies with threads are not supported', 'Zombie thread not supported'],
    cause: 'a thread of a process, mostly the main thread, has ended while others run on',
    cure: 'restart that process; a program whose main thread ends first cannot be moved',
    source: 'criu/seize.c collect_threads',
  },
  {
    says: ['has uprobes vma', 'with a pending SIGTRAP'],
    cause: 'the process is traced, or was (eBPF uprobes of a monitoring agent, a debugger)',
    cure: 'end the tracing and restart the pod, or add allow-uprobes to /etc/criu/runc.conf on both nodes',
    source: 'criu/proc_parse.c handle_vma, compel/src/lib/infect.c compel_wait_task',
  },
  {
    says: ["Can't dump that handle", "Can't find suitable path for handle"],
    cause: 'the process watches a file (inotify) whose path CRIU cannot find, such as a deleted one',
    cure: 'add force-irmap and irmap-scan-path with the directory to /etc/criu/runc.conf on the source, or let it watch files that stay',
    source: 'criu/fsnotify.c check_open_handle, criu/irmap.c',
  },
  {
    says: ["Can't add watch for … No space left on device", "Can't create inotify for"],
    cause: 'the destination has no inotify watches left',
    cure: 'raise fs.inotify.max_user_watches and fs.inotify.max_user_instances there',
    source: 'criu/fsnotify.c restore_one_inotify and open_inotify_fd',
  },
  {
    says: ["Can't dump ghost file"],
    cause: 'a deleted file that the process still has open is larger than CRIU takes along (1 MiB)',
    cure: 'add ghost-limit with a larger size, such as 1G, to /etc/criu/runc.conf on the source',
    source: 'criu/files-reg.c dump_ghost_remap, criu/include/cr_options.h DEFAULT_GHOST_LIMIT',
  },
  {
    says: ["Can't create link remap for"],
    cause: 'the name of an open file was deleted and the CRIU of the node was not told to link it again',
    cure: 'see that /etc/criu/runc.conf on the node has link-remap (the podferry agent writes it)',
    source: 'criu/files-reg.c create_link_remap',
  },
  {
    says: ['Unaccessible path opened', 'Open files on overmounted mounts are not supported'],
    cause: 'an open file is hidden: another file has its name, or another mount lies over it',
    cure: 'let the process open it anew (as after a log rotation), and mount nothing over directories in use',
    source: 'criu/files-reg.c check_path_remap and dump_one_reg_file',
  },
  {
    says: ["doesn't have a proper root mount", 'FS mnt … unsupported id', 'is a fuse mount but not external', 'has unreachable sharing'],
    cause: 'the container has a mount that CRIU cannot put back (made inside it or by a hook, of FUSE, or with mount propagation)',
    cure: 'do without mounts that are not in the pod, and without mountPropagation',
    source: 'criu/mount.c validate_mounts and resolve_shared_mounts, criu/filesystems.c fusectl_dump',
  },
  {
    says: ['No mapping for … mountpoint'],
    cause: 'a mount of the source is not in the target pod',
    cure: 'compare the mounts of both pods (a webhook, a hook of the runtime) and make them the same',
    source: 'criu/mount.c get_mp_root',
  },
  {
    says: ["Can't dump nested … namespace for"],
    cause: 'a process has namespaces of its own inside the container (the sandbox of a browser, containers in containers)',
    cure: 'turn that sandbox off, such as with --no-sandbox',
    source: 'criu/namespaces.c generate_ns_id',
  },
  {
    says: ['Unable to freeze cgroup', 'Timeout reached. Try to interrupt'],
    cause: 'the processes could not be stopped in time, often because one waits for storage (state D)',
    cure: 'see what it waits for, or add timeout with more than 10 seconds to /etc/criu/runc.conf on the source',
    source: 'criu/seize.c freeze_processes, criu/cr-dump.c alarm_handler',
  },
  {
    says: ['Unable to connect a transport socket: Permission denied'],
    cause: 'AppArmor or SELinux on the node keeps CRIU from talking to the process',
    cure: 'allow it Unix sockets in the profile, or set securityContext.appArmorProfile.type to Unconfined',
    source: 'compel/src/lib/infect.c parasite_init_daemon; github.com/checkpoint-restore/criu/issues/552',
  },
  {
    says: ["can't write lsm profile", 'failed to write policy in AA namespace'],
    cause: 'the AppArmor or SELinux profile of the process is not on the destination',
    cure: 'load the same profiles on both nodes',
    source: 'criu/pie/restorer.c lsm_set_label, criu/apparmor.c write_aa_policy',
  },
  {
    says: ['suspending seccomp failed', "Can't fetch filter on tid_real", 'seccomp: SECCOMP_SET_MODE_FILTER returned'],
    cause: 'the seccomp filter of the process could not be read or put back',
    cure: 'take a kernel with CONFIG_CHECKPOINT_RESTORE, and run the runtime of the node as root without a seccomp filter of its own',
    source: 'compel/src/lib/ptrace.c ptrace_suspend_seccomp, criu/seccomp.c collect_filter, criu/pie/restorer.c restore_seccomp_filter',
  },
  {
    says: [
      'CPU instruction capabilities do not match run time',
      'CPU capabilities do not match run time',
      'CPU xfeatures has unsupported bits',
      'CPU xsave size mismatch',
      'CPU xsave max size mismatch',
      'FPU feature required by image',
    ],
    cause: 'the CPU of the destination lacks something that the CPU of the source has',
    cure: 'move to a node with the same kind of CPU or a newer one',
    source: 'criu/arch/x86/cpu.c cpu_validate_features and cpu_validate_ins_features',
  },
  {
    says: ["Can't fork for … File exists", 'Pid … do not match expected'],
    cause: 'a process number of the source is taken in the target pod',
    cure: 'set shareProcessNamespace to false',
    source: 'criu/cr-restore.c fork_with_pid and __restore_task_with_children',
  },
  {
    says: ["Can't open file … on restore"],
    cause: 'a file that the process has open cannot be opened in the target pod',
    cure: 'see that image and volumes are the same on both nodes; files in the layer of the container and in emptyDir come along, others do not',
    source: 'criu/files-reg.c do_open_reg_noseek_flags',
  },
  {
    says: ['has bad size', 'has bad mode', 'has bad build-ID'],
    cause: 'a file that the process has open is another one in the target pod',
    cure: 'see that image and volumes are the same on both nodes, and that nobody writes to them during the move',
    source: 'criu/files-reg.c validate_file, validate_with_build_id and open_path',
  },
  {
    says: ["Can't bind inet socket … Cannot assign requested address"],
    cause: 'the process listens on the address of the source pod, and the target pod has another',
    cure: 'let it listen on all addresses (0.0.0.0 or ::)',
    source: 'criu/sk-inet.c inet_bind, soccr/soccr.c libsoccr_set_sk_data_noq',
  },
  {
    says: ['Not supported images version', "Magic doesn't match for", "Head magic doesn't match for", 'Core march mismatch'],
    cause: 'the checkpoint is of another version of CRIU or of another architecture',
    cure: 'install the same CRIU on both nodes, and move between nodes of one architecture only',
    source: 'criu/image.c check_img_inventory and img_check_magic, criu/cr-restore.c check_core',
  },
  {
    says: [
      "Can't write img file: No space left on device",
      'Error flushing image: No space left on device',
      'Unable to spice data: No space left on device',
      'write /… no space left on device',
    ],
    cause: 'the disk of the node is full',
    cure: 'make room under /var/lib/containerd, /var/lib/kubelet and /var/lib/podferry: a checkpoint is written several times',
    source: "criu/image.c write_img_buf, criu/bfd.c bclose, criu/page-xfer.c write_pages_loc; Go's syscall.ENOSPC",
  },
  {
    says: [
      'Unable to map ANON_VMA: Cannot allocate memory',
      "Can't fork for … Cannot allocate memory",
      "Can't mmap shmem … Cannot allocate memory",
    ],
    cause: 'the destination has not enough memory for the pod',
    cure: 'move to a node with more free memory (and huge pages, if the pod uses them)',
    source: 'criu/mem.c premap_private_vma, criu/cr-restore.c fork_with_pid, criu/shmem.c restore_memfd_shmem_content',
  },
  {
    says: ["cg: Can't move", 'cg: Failed writing', "cg: Can't make cgroup dir", "cg: Cgroup dir … doesn't exist"],
    cause: 'CRIU could not put the process back into its cgroup',
    cure: 'use the same cgroup version and driver on both nodes, or add manage-cgroups ignore to /etc/criu/runc.conf on the destination',
    source: 'criu/cgroup.c userns_move, move_in_cgroup, restore_cgroup_prop and prepare_cgroup_dirs',
  },
  {
    says: ['Iptables configuration failed', 'Locking network failed using nftables', 'Locking connection failed using nftables'],
    cause: 'CRIU tried to lock the network of the pod and could not',
    cure: 'see that /etc/criu/runc.conf on the node has network-lock skip (the podferry agent writes it)',
    source: 'criu/netfilter.c iptables_connection_switch_raw, nftables_init_connection_lock and nftables_lock_connection_raw',
  },
];
