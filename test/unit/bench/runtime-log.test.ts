import { asParts, callsOf, linesOf } from '../../bench/runtime-log.ts';

/** As containerd 2.1.9 writes it, with the names shortened. */
const log = (lines: [number, string][]) =>
  lines
    .map(([milliseconds, message]) => {
      const time = new Date(1_000_000 + milliseconds).toISOString().replace('Z', '000001Z');
      return `time="${time}" level=info msg="${message.replaceAll('"', '\\"')}"`;
    })
    .join('\n');

const sandbox = 'RunPodSandbox for &PodSandboxMetadata{Name:p,Uid:u1,Namespace:n,Attempt:0,}';
const create = 'CreateContainer within sandbox "5a" for';

describe("containerd's log", () => {
  const lines = linesOf(
    log([
      [0, sandbox.replace('u1', 'other')],
      [100, sandbox],
      [150, 'StartContainer for "ff"'],
      [300, `${sandbox} returns sandbox id "5a"`],
      [310, 'PullImage "i"'],
      [360, 'PullImage "i" returns image reference "sha256:1"'],
      [400, `${create} container &ContainerMetadata{Name:c,Attempt:0,}`],
      [430, `${create} &ContainerMetadata{Name:c,Attempt:0,} returns container id "c1"`],
      [440, 'StartContainer for "c1"'],
      [450, 'StartContainer for "ff" returns successfully'],
      [540, 'StartContainer for "c1" returns successfully'],
    ]),
  );

  it('tells how long each kind of call took for that pod alone', () => {
    const { sandbox: of, pull, create: creation, start } = callsOf(lines, 'u1');
    expect([of, pull, creation, start].map(Math.round)).toEqual([200, 50, 30, 100]);
  });

  it('leaves the rest of the time to others', () => {
    expect(Math.round(asParts(callsOf(lines, 'u1'), 500).at(-1)?.milliseconds ?? 0)).toBe(120);
  });

  it('knows nothing of a pod that is not in it', () => {
    expect(callsOf(lines, 'u2')).toEqual({ sandbox: 0, pull: 0, create: 0, start: 0 });
  });
});
