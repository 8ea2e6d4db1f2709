import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';

/** What a member of a test archive is; content as text or bytes. */
export interface Member {
  name: string;
  content?: string | Buffer;
  header?: Partial<tar.Header>;
}

export const config = {
  id: 'abc123',
  name: 'counter_counter-0_shop_0b9c7a3e-1_0',
  rootfsImage: 'registry.example.com/shop/counter:v1',
  rootfsImageRef: 'registry.example.com/shop/counter@sha256:1111111111111111111111111111111111111111111111111111111111111111',
  rootfsImageName: 'registry.example.com/shop/counter:v1',
  runtime: 'io.containerd.runc.v2',
  createdTime: '2026-11-24T10:00:00Z',
  checkpointedTime: '2026-11-24T11:00:00.123456789Z',
};

const le = (...words: number[]) => {
  const bytes = Buffer.alloc(words.length * 4 + 16, 7);
  for (const [i, word] of words.entries()) bytes.writeUInt32LE(word, i * 4);
  return bytes;
};

/** A small archive with all that containerd's have. */
export function members(): Member[] {
  return [
    { name: 'checkpoint/', header: { type: 'directory', mode: 0o700 } },
    { name: 'checkpoint/core-1.img', content: le(0x54564319, 0x55053847) },
    { name: 'checkpoint/inventory.img', content: le(0x58313116) },
    { name: 'checkpoint/pages-1.img', content: Buffer.alloc(70_000, 3) },
    { name: 'checkpoint/pages-2.img', content: Buffer.alloc(4096, 4) },
    { name: 'checkpoint/pstree.img', content: le(0x54564319, 0x50273030) },
    { name: 'config.dump', content: JSON.stringify(config), header: { mode: 0o600, mtime: new Date(1_700_000_000_000) } },
    { name: 'container.log', content: 'hello\n' },
    { name: 'dump.log', content: '' },
    { name: 'rootfs-diff.tar', content: Buffer.alloc(1537, 9) },
    { name: 'spec.dump', content: '{}' },
    { name: 'status.dump', content: '{}' },
  ];
}

/** The members as a tar made by tar-stream, a writer that is not podferry's. */
export async function archive(list: Member[]): Promise<Buffer> {
  const pack = tar.pack();
  for (const { name, content = '', header } of list) pack.entry({ name, mode: 0o600, ...header }, content);
  pack.finalize();
  return buffer(Readable.from(pack as unknown as AsyncIterable<Buffer>));
}

/** A stream of the bytes in chunks of this size. */
export function chunked(bytes: Buffer, size = 65_536): Readable {
  const chunks = function* () {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  };
  return Readable.from(chunks(), { objectMode: false });
}

/** The entries as tar-stream reads them. */
export async function read(bytes: Buffer): Promise<{ header: tar.Header; content: Buffer }[]> {
  const extract = tar.extract();
  Readable.from([bytes]).pipe(extract);
  const entries: { header: tar.Header; content: Buffer }[] = [];
  for await (const entry of extract) entries.push({ header: entry.header, content: await buffer(entry) });
  return entries;
}

/** A directory that is gone after the test. */
export function scratch(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'podferry-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A directory on a full-size-limited tmpfs, or the reason why there is none. */
export function smallDisk(bytes: number): { path: string; remove: () => void } | { skip: string } {
  const directory = scratch();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'podferry-test', directory.path], { stdio: 'pipe' });
  } catch (error) {
    directory.remove();
    return { skip: `a tmpfs cannot be mounted here: ${(error as Error).message.split('\n')[0]}` };
  }
  return {
    path: directory.path,
    remove: () => {
      execFileSync('umount', [directory.path]);
      directory.remove();
    },
  };
}
