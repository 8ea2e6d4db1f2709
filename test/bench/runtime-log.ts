import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { lab } from '../cluster/support/lab.ts';
import type { Part } from './results.ts';

interface Line {
  at: number;
  message: string;
}

/** What a node's containerd logs from now on: when it began and ended what the kubelet asked for. */
export class RuntimeLog {
  readonly #path: string;
  readonly #offset: number;

  private constructor(path: string, offset: number) {
    this.#path = path;
    this.#offset = offset;
  }

  static async from(node: string): Promise<RuntimeLog> {
    const path = join((await lab()).stateDirectory, 'logs', `${node}-containerd.log`);
    await using file = await open(path);
    return new RuntimeLog(path, (await file.stat()).size);
  }

  /** How long each kind of call for a pod took, all containers together. */
  async partsOf(podUid: string): Promise<{ sandbox: number; pull: number; create: number; start: number }> {
    await using file = await open(this.#path);
    const chunks: Buffer[] = [];
    for await (const chunk of file.createReadStream({ start: this.#offset, autoClose: false })) chunks.push(chunk as Buffer);
    return callsOf(linesOf(Buffer.concat(chunks).toString()), podUid);
  }
}

/** The messages of containerd's log with their times (logfmt). */
export function linesOf(text: string): Line[] {
  return [...text.matchAll(/^time="([^"]+)" level=info msg="((?:[^"\\]|\\.)*)"/gm)].map(([, time = '', message = '']) => ({
    at: milliseconds(time),
    message: message.replaceAll('\\"', '"'),
  }));
}

/** A time with nanoseconds, of which Date.parse keeps three digits. */
function milliseconds(time: string): number {
  const [, whole = '', fraction = '0'] = /^(.*)\.(\d+)Z$/.exec(time) ?? [];
  return Date.parse(`${whole}Z`) + Number(`0.${fraction}`) * 1000;
}

/** Pulls are the pod's when they lie between its sandbox and its last start: the kubelet pulls one image at a time. */
export function callsOf(lines: Line[], podUid: string): { sandbox: number; pull: number; create: number; start: number } {
  const calls = { sandbox: 0, pull: 0, create: 0, start: 0 };
  const own = (message: string) => message.includes(podUid);
  const begun = lines.findIndex(({ message }) => message.startsWith('RunPodSandbox for') && own(message));
  const sandboxEnd = lines.find(({ message }) => message.startsWith('RunPodSandbox for') && own(message) && message.includes('returns'));
  const id = /returns sandbox id "(\w+)"/.exec(sandboxEnd?.message ?? '')?.[1];
  if (begun < 0 || !id) return calls;
  calls.sandbox = (sandboxEnd?.at ?? 0) - (lines[begun]?.at ?? 0);
  const containers = new Set<string>();
  let pull: number | undefined;
  let create: number | undefined;
  const starts = new Map<string, number>();
  for (const { at, message } of lines.slice(begun)) {
    if (message.startsWith('PullImage')) {
      if (message.includes('returns')) {
        if (pull !== undefined) calls.pull += at - pull;
        pull = undefined;
      } else pull = at;
    } else if (message.startsWith(`CreateContainer within sandbox "${id}"`)) {
      const container = /returns container id "(\w+)"/.exec(message)?.[1];
      if (container) {
        containers.add(container);
        if (create !== undefined) calls.create += at - create;
      } else create = at;
    } else {
      const [, container = '', end] = /^StartContainer for "(\w+)"( returns successfully)?/.exec(message) ?? [];
      if (!containers.has(container)) continue;
      if (end) calls.start += at - (starts.get(container) ?? at);
      else starts.set(container, at);
    }
  }
  return calls;
}

/** Those calls as parts of the time from the pod's creation to its answer; what is left is the kubelet's and the network's. */
export function asParts(calls: Awaited<ReturnType<RuntimeLog['partsOf']>>, total: number): Part[] {
  const rest = total - calls.sandbox - calls.pull - calls.create - calls.start;
  return [...Object.entries(calls).map(([name, milliseconds]) => ({ name, milliseconds })), { name: 'rest', milliseconds: rest }];
}
