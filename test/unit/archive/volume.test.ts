import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { encodeHeader } from '../../../src/archive/tar.ts';
import { packVolume } from '../../../src/archive/volume-pack.ts';
import { unpackVolume } from '../../../src/archive/volume-unpack.ts';
import { archive, chunked, type Member, scratch, smallDisk } from './fixtures.ts';

let directory: ReturnType<typeof scratch>;
let source: string;
let target: string;

beforeEach(() => {
  directory = scratch();
  source = join(directory.path, 'source');
  target = join(directory.path, 'target');
  mkdirSync(source);
});
afterEach(() => directory.remove());

const asRoot = process.getuid?.() === 0;

/** All that should travel, by name. */
function tree(root: string): Record<string, { mtime: bigint; [key: string]: unknown }> {
  const found: ReturnType<typeof tree> = {};
  const visit = (name: Buffer) => {
    const path = Buffer.concat([Buffer.from(`${root}/`), name]);
    const stat = lstatSync(path, { bigint: true });
    found[name.toString('latin1')] = {
      mode: stat.mode.toString(8),
      owner: `${stat.uid}:${stat.gid}`,
      links: stat.isDirectory() ? undefined : stat.nlink,
      mtime: stat.mtimeNs,
      content: stat.isFile()
        ? readFileSync(path).toString('base64')
        : stat.isSymbolicLink()
          ? readlinkSync(path, { encoding: 'buffer' }).toString('latin1')
          : undefined,
    };
    if (!stat.isDirectory()) return;
    for (const child of readdirSync(path, { encoding: 'buffer' }))
      visit(name.length === 0 ? child : Buffer.concat([name, Buffer.from('/'), child]));
  };
  visit(Buffer.alloc(0));
  return found;
}

/** The target is as the source; times to the microsecond, because more than a double holds cannot be set. */
function expectSame(): void {
  const [there, here] = [tree(target), tree(source)];
  for (const [name, entry] of Object.entries(there)) {
    const wanted = here[name]?.mtime ?? 0n;
    if (entry.mtime - wanted < 1000n && wanted - entry.mtime < 1000n) entry.mtime = wanted;
  }
  expect(there).toEqual(here);
}

async function move(): Promise<Awaited<ReturnType<typeof unpackVolume>>> {
  const { output, summary } = packVolume(source);
  const unpacked = await unpackVolume(output, target);
  const packed = await summary;
  expect(unpacked).toMatchObject({ digest: packed.digest, bytes: packed.bytes, entries: packed.entries });
  return packed;
}

describe('a volume goes over', () => {
  test('with modes, owners, times, links, FIFOs and names of any bytes', async () => {
    mkdirSync(join(source, 'empty'), { mode: 0o1777 });
    mkdirSync(join(source, 'deep', 'd'.repeat(120), 'e'.repeat(120)), { recursive: true });
    const file = join(source, 'deep', 'data');
    writeFileSync(file, 'content');
    linkSync(file, join(source, 'hard'));
    if (asRoot) chownSync(file, 1_000_620_000, 70_000);
    chmodSync(file, 0o4751);
    utimesSync(file, 1_700_000_000.123456, 1_700_000_000.123456);
    symlinkSync('/etc/nowhere', join(source, 'absolute'));
    symlinkSync(`../${'x'.repeat(150)}`, join(source, 'dangling'));
    lutimesSync(join(source, 'dangling'), 1_500_000_000, 1_500_000_000);
    writeFileSync(Buffer.concat([Buffer.from(`${source}/caf`), Buffer.from([0xe9, 0xff, 0x0a])]), 'latin1');
    writeFileSync(join(source, '☃'), Buffer.alloc(3_000_000, 1));
    execFileSync('mkfifo', ['-m', '640', join(source, 'fifo')]);
    chmodSync(source, 0o2770);
    utimesSync(join(source, 'empty'), 1_600_000_000, 1_600_000_000);
    const packed = await move();
    expectSame();
    expect(lstatSync(join(target, 'hard')).ino).toBe(lstatSync(join(target, 'deep', 'data')).ino);
    expect(packed.skippedCount).toBe(0);
  });

  test('with the holes of sparse files', async () => {
    const file = join(source, 'sparse');
    writeFileSync(file, 'begin');
    truncateSync(file, 50_000_000);
    execFileSync('dd', ['if=/dev/urandom', `of=${file}`, 'bs=5000', 'seek=3000', 'count=2', 'conv=notrunc'], { stdio: 'ignore' });
    writeFileSync(join(source, 'dense'), Buffer.alloc(1_000_000));
    await move();
    expect(readFileSync(join(target, 'sparse')).equals(readFileSync(file))).toBe(true);
    expect(lstatSync(join(target, 'sparse')).blocks).toBeLessThan(200);
    // Zeros that were written may be there to reserve the room: they are written again.
    expect(lstatSync(join(target, 'dense')).blocks * 512).toBeGreaterThanOrEqual(1_000_000);
  });

  test('any small tree', async () => {
    const name = fc
      .uint8Array({ minLength: 1, maxLength: 120 })
      .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))));
    const valid = name.filter((bytes) => bytes.toString('latin1') !== '.' && bytes.toString('latin1') !== '..');
    const item = fc.record({
      name: valid,
      kind: fc.constantFrom('file', 'directory', 'symlink'),
      content: fc.uint8Array({ maxLength: 9000 }),
      mode: fc.integer({ min: 0, max: 0o7777 }),
    });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(item, { maxLength: 8 }), async (items) => {
        run++;
        source = join(directory.path, `s${run}`);
        target = join(directory.path, `t${run}`);
        mkdirSync(source);
        let parent = Buffer.from(source);
        for (const { name, kind, content, mode } of items) {
          const path = Buffer.concat([parent, Buffer.from('/'), name]);
          try {
            if (kind === 'directory') mkdirSync(path);
            else if (kind === 'file') writeFileSync(path, content, { flag: 'wx' });
            else symlinkSync(Buffer.concat([Buffer.from('to-'), name]), path);
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
            continue;
          }
          if (kind !== 'symlink' && asRoot) chmodSync(path, mode);
          if (kind === 'directory') parent = path;
        }
        await move();
        expectSame();
      }),
      { numRuns: 25 },
    );
  }, 30_000);

  test('in a form that other tars read', async () => {
    mkdirSync(join(source, 'a'));
    writeFileSync(join(source, 'a', 'file'), 'content');
    symlinkSync('a/file', join(source, 'link'));
    const bytes = await buffer(packVolume(source).output);
    mkdirSync(target);
    execFileSync('tar', ['-xpf', '-', '-C', target], { input: bytes });
    expect(Object.keys(tree(target)).sort()).toEqual(Object.keys(tree(source)).sort());
    expect(readFileSync(join(target, 'link'), 'utf8')).toBe('content');
  });

  test('without sockets, which are named', async () => {
    const server = createServer().listen(join(source, 'app.sock'));
    await new Promise((done) => server.on('listening', done));
    try {
      const packed = await move();
      expect(packed.skipped).toEqual([{ path: 'app.sock', reason: 'a socket' }]);
      expect(readdirSync(target)).toEqual([]);
    } finally {
      server.close();
    }
  });
});

describe('unpacking never writes outside', () => {
  const attack = async (members: Member[]) => unpackVolume(chunked(await archive(members)), target);

  test.each<[string, Member[]]>([
    ['an absolute name', [{ name: '/tmp/podferry-escape', content: 'x' }]],
    ['dot-dot', [{ name: '../escape', content: 'x' }]],
    [
      'dot-dot inside',
      [
        { name: 'a/', header: { type: 'directory' } },
        { name: 'a/../../escape', content: 'x' },
      ],
    ],
    [
      'through a symlink to a directory',
      [
        { name: 'out', header: { type: 'symlink', linkname: '..' } },
        { name: 'out/escape', content: 'x' },
      ],
    ],
    [
      'over a symlink to a file',
      [
        { name: 'out', header: { type: 'symlink', linkname: '../escape' } },
        { name: 'out', content: 'x' },
      ],
    ],
    [
      'a directory in the place of a symlink',
      [
        { name: 'out', header: { type: 'symlink', linkname: '..' } },
        { name: 'out/', header: { type: 'directory' } },
        { name: 'out/escape', content: 'x' },
      ],
    ],
    ['a hard link to the outside', [{ name: 'hard', header: { type: 'link', linkname: '../secret' } }]],
    [
      'a hard link through a symlink',
      [
        { name: 'out', header: { type: 'symlink', linkname: '..' } },
        { name: 'hard', header: { type: 'link', linkname: 'out/secret' } },
      ],
    ],
    ['a parent that was never announced', [{ name: 'a/b', content: 'x' }]],
    ['an empty component', [{ name: 'a//b', content: 'x' }]],
  ])('%s', async (_what, members) => {
    writeFileSync(join(directory.path, 'secret'), 'secret');
    await expect(attack(members)).rejects.toMatchObject({ name: 'ArchiveError', code: 'unsafe-entry' });
    expect(readdirSync(directory.path).sort()).toEqual(['secret', 'source', 'target']);
    expect(lstatSync(join(directory.path, 'secret')).nlink).toBe(1);
  });

  test('a NUL in a name, by a pax record', async () => {
    const header = encodeHeader(
      { name: 'a', mode: 0, uid: 0, gid: 0, size: 0, mtime: 0, type: '0', linkname: '' },
      new Map([['path', 'a\0b']]),
    );
    await expect(unpackVolume(chunked(Buffer.concat([header, Buffer.alloc(1024)])), target)).rejects.toMatchObject({
      code: 'unsafe-entry',
    });
  });

  test('device nodes are left out, and named', async () => {
    const summary = await attack([{ name: 'null', header: { type: 'character-device', devmajor: 1, devminor: 3 } }]);
    expect(summary.skipped).toEqual([{ path: 'null', reason: 'an entry of type "3"' }]);
    expect(readdirSync(target)).toEqual([]);
  });
});

describe('failures', () => {
  test('a directory that is not empty is refused, or emptied on demand', async () => {
    mkdirSync(target);
    writeFileSync(join(target, 'old'), '');
    await expect(unpackVolume(packVolume(source).output, target)).rejects.toThrow(/not empty/);
    writeFileSync(join(source, 'new'), '');
    await unpackVolume(packVolume(source).output, target, { replace: true });
    expect(readdirSync(target)).toEqual(['new']);
  });

  test('a truncated stream', async () => {
    writeFileSync(join(source, 'file'), Buffer.alloc(10_000, 1));
    const bytes = await buffer(packVolume(source).output);
    await expect(unpackVolume(chunked(bytes.subarray(0, 5000)), target)).rejects.toMatchObject({ code: 'truncated' });
  });

  test('an input that hangs is left when the signal says so', async () => {
    const hanging = new PassThrough();
    const stop = new AbortController();
    const unpacked = unpackVolume(hanging, target, { signal: stop.signal });
    setTimeout(() => stop.abort(), 50);
    await expect(unpacked).rejects.toMatchObject({ code: 'aborted' });
    expect(hanging.destroyed).toBe(true);
  });

  test('packing what is not there', async () => {
    const { output, summary } = packVolume(join(directory.path, 'missing'));
    await expect(buffer(output)).rejects.toMatchObject({ code: 'io', message: expect.stringContaining('missing') });
    await expect(summary).rejects.toMatchObject({ code: 'io' });
  });

  const disk = smallDisk(1024 * 1024);
  if ('skip' in disk) test.skip(`a full disk (skipped: ${disk.skip})`, () => undefined);
  else {
    afterAll(() => disk.remove());
    test('a full disk', async () => {
      writeFileSync(join(source, 'file'), Buffer.alloc(3_000_000, 1));
      await expect(unpackVolume(packVolume(source).output, join(disk.path, 'v'))).rejects.toMatchObject({ code: 'no-space' });
    });
  }
});
