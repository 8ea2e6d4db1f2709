/** A message of CRIU (or of the runtime about it), what it means, and what cures it. */
interface Advice {
  pattern: RegExp;
  cause: string;
  cure: string;
  /** Where this was learnt. */
  source: string;
}

const table: Advice[] = [
  {
    pattern: /Unsupported proto 262/,
    cause: 'a socket uses Multipath TCP, which CRIU cannot dump (Go 1.24 and later listen with it)',
    cure: 'start the container with the environment variable GODEBUG=multipathtcp=0',
    source: 'measured, Go 1.26 with CRIU 4.2.1',
  },
  {
    pattern: /anon_inode:\[io_uring\]/,
    cause: 'the process uses io_uring, which CRIU cannot dump (Node.js 24 and others)',
    cure: 'set securityContext.seccompProfile.type to RuntimeDefault, which keeps io_uring away',
    source: 'measured, Node.js 24 with CRIU 4.2.1',
  },
  {
    pattern: /Can't get rlimit/,
    cause: 'CRIU may not read the limits of a process of another user (it lacks CAP_SYS_RESOURCE on this node)',
    cure: 'give the node CAP_SYS_RESOURCE, or run the container as root there',
    source: 'measured, a node without CAP_SYS_RESOURCE',
  },
  {
    pattern: /Connected TCP socket|tcp-established|in-flight connection/i,
    cause: 'the process has open TCP connections and the CRIU of the node was not told to close them',
    cure: 'see that /etc/criu/runc.conf on the node has tcp-established, skip-in-flight and tcp-close (the podferry agent writes it)',
    source: 'measured, CRIU 4.2.1',
  },
  {
    pattern: /exec: "criu"|criu binary not found|failed to find criu/i,
    cause: 'CRIU is not installed on the node',
    cure: 'install CRIU 3.19 or later there (package criu)',
    source: 'runc and containerd: exec of criu',
  },
  {
    pattern: /not found.*rootfs|rootfsImageRef|failed to pull checkpoint base image/i,
    cause: 'the base image of the checkpoint could not be pulled on the destination',
    cure: 'see whether the podferry agent on the destination runs',
    source: 'containerd 2.1 internal/cri/server/container_checkpoint_linux.go',
  },
];

/** Cause and cure of what CRIU said, each in a sentence; a message that is not known is quoted. */
export function explainCriu(message: string): string {
  const advice = table.find((candidate) => candidate.pattern.test(message));
  // Conditions and events are one line for those who list them.
  if (!advice) return message.trim().replaceAll(/\s*\n\s*/g, '; ');
  return `${advice.cause}; to cure it, ${advice.cure}`;
}
