import type { Results } from './results.ts';

/** What docs/performance.md says around its figures. */
export function text(results: Results, tables: { downtime: string; growth: string; usage: string; parts: string; shares: string }): string {
  const { machine, skipped, failures, runs = [results] } = results;
  const minutes = Math.round(runs.reduce((sum, { begun, ended }) => sum + Date.parse(ended) - Date.parse(begun), 0) / 60_000);
  const [days, commits] = [runs.map(({ begun }) => begun.slice(0, 10)), runs.map(({ commit }) => commit)].map((each) =>
    [...new Set(each)].join(', '),
  );
  const from = runs.length === 1 ? 'a run' : `${runs.length} runs`;
  return `# Performance

Written by \`make bench\` (test/bench) from ${from} on ${days} at commit ${commits}, ${minutes} minutes; never edited by hand. Machine: ${machine.processors} processors and
${Math.round(machine.memoryMebibytes / 1024)} GiB of memory for both nodes, the control plane and the registry together, kernel ${machine.kernel}, Kubernetes ${machine.kubernetes}, containerd ${machine.containerd}; load average
when it began ${machine.loadAverage[0]?.toFixed(1)}, when it ended ${machine.loadAverage[1]?.toFixed(1)}. Absolute times are this machine's; the ratios are of moves that took turns.

## Downtime

![Downtime over memory](performance-downtime.svg)

${tables.downtime}

${tables.growth}Medians, and in brackets the least and the most; where one number stands, the pod was moved once. "moves": by each way.

- **Downtime** is what a client outside of both nodes sees, in a process of its own, which asks every container every 5 ms: from the last answer of the source to the
  first of the target (of several containers: from the first that fell silent to the last that answers). It does not ask podferry's
  placeholder, which never answers: to be refused 200 times a second costs an eighth of a core, and only podferry. After each move the process must be the same, its count not gone back, its memory unchanged.
- **Documented**: the kubelet's checkpoint API, then \`buildah from scratch\`, \`add\`, \`config\`, \`commit\` and \`push\` on the source's node, then a pod with that image and \`nodeName\`, as
  Kubernetes documents it, without a pause between the commands. The source is deleted when the checkpoint is there; its answers after the checkpoint
  was asked for do not count, for they are lost. containerd fetches the base image of a checkpoint without credentials and
  without its own configuration of registries, so the base images are served to both ways by a second registry, without a password, at \`localhost\`; with the lab's own
  registry this way fails. It also profits from the options for open connections in \`/etc/criu/runc.conf\`, which podferry's agent has written.
- **podferry**: a Migration with nothing set but the destination; memory is sent ahead where it finds that to pay by the rates that it has measured. **cold**:
  the same with \`warmRounds: 0\`.
- **Floor**: what is left when nothing but the work itself is done, measured in the same run: CRIU writes the paused task's memory to the disk
  (\`ctr tasks checkpoint --image-path\`), runc restores it from there, and a plain pod of which the image is present is created and answers.
  They are added up as if they could not overlap.
- **Pods**: counters whose memory is random, compressible (a quarter of each page is random), or idle5 (random, 5 % of the pages are written every second); three containers share it out. They
  request half a core, as pods with state do: without a request a pod that is being restored comes after everybody else who wants a core.

## Where podferry's downtime goes

![Parts of the downtime](performance-parts.svg)

Each size has its own scale. freeze: until the source's agent has seen all containers paused. checkpoint: until CRIU has written and most is shipped, which
happens at the same time. ship: what was left. hold: the agents agree on the switch. switch: the source is deleted and the
target created. start: from the target's creation to its first answer, of which the runtime's calls are taken from containerd's log
("rest": kubelet, API server and what the client needs to see it).

${tables.parts}

${tables.shares}

"podferry's own" has what the dump takes longer than alone (comparing with what was sent ahead, and memory that is not at hand), what is left to be sent, the
hold, the switch and the pull. What cannot be taken without patching CRIU, the runtime or Kubernetes:

- **The dump**: CRIU has the kernel copy each page into a pipe and from there into the page cache. runc can stream, pre-dump and serve pages (\`--page-server\`,
  \`--pre-dump\`, \`--lazy-pages\`), but containerd's shim passes none of these on (its checkpoint options: images, log, a few flags).
- **The restore**: CRIU reads all memory before the process goes on, into new pages; lazily it could go on at once, but the shim does not start a page server.
  Files are hard links (\`src/agent/criu-hook.ts\`), so the runtime copies nothing of them.
- **The wait for volumes**: a kubelet looks for the pod's volumes as soon as it knows the pod, when they cannot be there, and then every 300 ms (\`podAttachAndMountRetryInterval\`,
  pkg/kubelet/volumemanager). Every pod has one, the token of its service account, unless it says otherwise: those of which the table says so.
- **The sandbox**: the kubelet makes it when it sees the target pod, which cannot be there before the switch: its name is the source's, or its owner makes it then.

## What it costs

${tables.usage}

- **total**: from the request until the target is Ready or the Migration has succeeded, preparation and cleaning up included; with podferry also having memory ready for the dump (ADR 12), up to
  4 s a GiB while the pod runs.
- **silence**: the longest that the source did not answer before its last answer; each time that memory is sent ahead it stops for as long as CRIU writes.
- **wire**, MiB: sent over the nodes' network, each byte once (interface counters).
- **written**, MiB: pages of files that processes of the node made dirty (\`write_bytes\` of /proc/PID/io). What was deleted before the kernel wrote it
  back is in it; memory file systems are not.
- **CPU**, seconds of the whole node (its cgroup): kubelet, runtime, buildah, agents, and the moved pod itself. "control" has API server, etcd and the registry.
- **agent peak**, MiB: the most memory of its own that the agent of the source, of the destination had (VmHWM without RssFile), of all moves. The files of
  Node.js and its libraries are about 62 more, which all of podferry's processes on a node share.
${skipped.length || failures.length ? '\n## Left out\n\n' : ''}${[...skipped, ...failures.map(({ way, message, ...cell }) => `${way}, ${cell.mebibytes} MiB ${cell.load}, ${cell.containers}: failed: ${message.split('\n')[0]}`)].map((line) => `- ${line}\n`).join('')}`;
}
