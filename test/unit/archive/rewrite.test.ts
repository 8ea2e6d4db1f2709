import { execFileSync } from 'node:child_process';
import { createReadStream, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { ArchiveError, ArchiveErrorCode } from '../../../src/archive/errors.ts';
import { describeArchive, type RewriteOptions, rewriteArchive } from '../../../src/archive/rewrite.ts';
import { archive, chunked, config, type Member, members, read, scratch } from './fixtures.ts';

const reference = 'localhost:31999/tok/base@sha256:2222222222222222222222222222222222222222222222222222222222222222';

async function rewritten(input: Buffer, options: RewriteOptions = {}, chunk?: number) {
  const { output, summary } = rewriteArchive(chunked(input, chunk), options);
  return { bytes: await buffer(output), summary: await summary };
}

/** Both ends must fail with the code, and the output must not have signalled its end. */
async function failure(input: Buffer, options: RewriteOptions = {}): Promise<ArchiveError> {
  const { output, summary } = rewriteArchive(chunked(input), options);
  let ended = false;
  output.on('end', () => {
    ended = true;
  });
  const [read, told] = await Promise.allSettled([buffer(output), summary]);
  expect(ended).toBe(false);
  expect(read.status).toBe('rejected');
  expect(told.status).toBe('rejected');
  const error = (told as PromiseRejectedResult).reason as ArchiveError;
  expect((read as PromiseRejectedResult).reason).toMatchObject({ code: error.code, message: error.message });
  return error;
}

const without = (...names: string[]) => members().filter((member) => !names.includes(member.name));
const changed = (name: string, content: string | Buffer) =>
  members().map((member) => (member.name === name ? { ...member, content } : member));

describe('rewriteArchive', () => {
  test('changes the base image in config.dump and nothing else', async () => {
    const input = await archive(members());
    const { bytes, summary } = await rewritten(input, { rootfsImageRef: reference, containerName: 'counter' });
    const before = await read(input);
    const after = await read(bytes);
    expect(after.map((entry) => entry.header.name)).toEqual(before.map((entry) => entry.header.name));
    for (const [i, entry] of after.entries()) {
      const was = before[i] as (typeof before)[number];
      if (entry.header.name !== 'config.dump') {
        expect({ ...entry.header, byteOffset: 0 }).toEqual({ ...was.header, byteOffset: 0 });
        expect(entry.content.equals(was.content)).toBe(true);
        continue;
      }
      expect(JSON.parse(entry.content.toString())).toEqual({ ...config, rootfsImageRef: reference });
      expect({ ...entry.header, byteOffset: 0, size: 0 }).toEqual({ ...was.header, byteOffset: 0, size: 0 });
    }
    expect(summary).toMatchObject({
      bytesIn: input.length,
      bytesOut: bytes.length,
      entries: 12,
      pagesBytes: 74_096,
      rootfsDiffBytes: 1537,
      containerName: 'counter',
      config,
      missing: [],
      complete: true,
      unexpected: [],
    });
  });

  test('passes an archive byte for byte when nothing is to be changed', async () => {
    const input = await archive(members());
    expect((await rewritten(input)).bytes.equals(input)).toBe(true);
    expect((await rewritten(input, { rootfsImageRef: config.rootfsImageRef })).bytes.equals(input)).toBe(true);
  });

  test('any tree, in chunks of any size, comes out as it went in', async () => {
    const name = fc.stringMatching(/^[a-zé☃]{1,60}(\/[a-z]{1,70}){0,2}$/);
    const header = fc.record({
      mode: fc.integer({ min: 0, max: 0o7777 }),
      uid: fc.integer({ min: 0, max: 200_000 }),
      mtime: fc.integer({ min: 0, max: 2 ** 31 - 1 }).map((seconds) => new Date(seconds * 1000)),
      pax: fc.constantFrom(undefined, { 'SCHILY.xattr.user.a': 'b', comment: 'é' }),
    });
    const extra = fc.record({ name: name.map((text) => `x/${text}`), content: fc.uint8Array({ maxLength: 3000 }), header });
    await fc.assert(
      fc.asyncProperty(fc.array(extra, { maxLength: 6 }), fc.integer({ min: 1, max: 4000 }), fc.boolean(), async (extras, chunk, last) => {
        const more: Member[] = extras.map(({ name, content, header: { pax, ...header } }) => ({
          name,
          content: Buffer.from(content),
          header: { ...header, ...(pax && { pax }) },
        }));
        const list = last ? [...more, ...members()] : [...members(), ...more];
        const input = await archive(list);
        expect((await rewritten(input, {}, chunk)).bytes.equals(input)).toBe(true);
        // Once there and back again is the identity only if nothing else was touched on either way.
        const there = await rewritten(input, { rootfsImageRef: reference }, chunk);
        const back = await rewritten(there.bytes, { rootfsImageRef: config.rootfsImageRef }, chunk);
        expect(back.bytes.equals(input)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test('GNU tar with sparse files, long names and xattr-free pax headers passes unchanged', async () => {
    const directory = scratch();
    try {
      const tree = join(directory.path, 'tree');
      for (const member of members()) {
        if (member.name.endsWith('/')) mkdirSync(join(tree, member.name), { recursive: true });
        else writeFileSync(join(tree, member.name), member.content ?? '');
      }
      const long = join(tree, 'd'.repeat(90), 'e'.repeat(90));
      mkdirSync(long, { recursive: true });
      writeFileSync(join(long, 'f'.repeat(120)), 'long');
      writeFileSync(join(tree, 'holes'), 'start');
      truncateSync(join(tree, 'holes'), 300_000_000);
      for (const format of ['gnu', 'posix', 'ustar', 'oldgnu']) {
        const extra = format === 'ustar' ? [`--exclude=${'d'.repeat(90)}`] : ['--sparse'];
        const file = join(directory.path, `${format}.tar`);
        execFileSync('tar', [
          '-C',
          tree,
          `--format=${format}`,
          ...extra,
          ...(format === 'ustar' ? ['--exclude=./holes'] : []),
          '-cf',
          file,
          '.',
        ]);
        const input = await buffer(createReadStream(file));
        expect((await rewritten(input, {}, 777)).bytes.equals(input)).toBe(true);
        const there = await rewritten(input, { rootfsImageRef: reference });
        writeFileSync(file, there.bytes);
        const shown = execFileSync('tar', ['-xOf', file, './config.dump']).toString();
        expect(JSON.parse(shown).rootfsImageRef).toBe(reference);
        expect((await rewritten(there.bytes, { rootfsImageRef: config.rootfsImageRef })).bytes.equals(input)).toBe(true);
      }
    } finally {
      directory.remove();
    }
  }, 30_000);

  test('a pax size record of config.dump is kept true', async () => {
    const content = JSON.stringify(config);
    const list = members().map((member) =>
      member.name === 'config.dump' ? { ...member, header: { pax: { size: String(content.length), comment: 'x' } } } : member,
    );
    const { bytes } = await rewritten(await archive(list), { rootfsImageRef: reference });
    const entry = (await read(bytes)).find(({ header }) => header.name === 'config.dump');
    expect(JSON.parse(String(entry?.content)).rootfsImageRef).toBe(reference);
    expect(entry?.header.pax).toEqual({ path: 'config.dump', size: String(entry?.content.length), comment: 'x' });
  });

  test('a truncated archive fails, wherever it was cut', async () => {
    const input = await archive(members());
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: input.length - 513 }), async (cut) => {
        expect((await failure(input.subarray(0, cut))).code).toBe('truncated');
      }),
      { numRuns: 60 },
    );
    const error = await failure(input.subarray(0, 40_000));
    expect(error.message).toMatch(/ends after 40000 bytes, inside checkpoint\/pages-1.img/);
    expect((await failure(input.subarray(0, -1024))).message).toMatch(/before the end-of-archive marker/);
  });

  test('a flipped bit in a header, in the JSON or in a magic number is seen', async () => {
    const input = await archive(members());
    const starts = [];
    for (let at = 0; at < input.length - 1024; at += 512) if (input.toString('latin1', at + 257, at + 262) === 'ustar') starts.push(at);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...starts), fc.integer({ min: 0, max: 511 * 8 }), async (start, bit) => {
        const damaged = Buffer.from(input);
        const at = start + (bit >> 3);
        damaged[at] = (damaged[at] as number) ^ (1 << (bit & 7));
        // Flipping a bit of the checksum's own closing bytes (NUL and space) changes nothing that counts.
        if (at - start >= 154 && at - start < 156) return;
        expect(['malformed', 'truncated']).toContain((await failure(damaged)).code);
      }),
      { numRuns: 100 },
    );
    const flip = async (marker: string) => {
      const damaged = Buffer.from(input);
      const at = damaged.indexOf(marker) + 512;
      damaged[at] = (damaged[at] as number) ^ 0x80;
      return (await failure(damaged)).code;
    };
    expect(await flip('checkpoint/inventory.img')).toBe('not-criu');
    expect(await flip('checkpoint/pstree.img')).toBe('not-criu');
    expect(await flip('config.dump')).toBe('bad-config');
  });

  test.each<[string, ArchiveErrorCode, () => Member[], RewriteOptions]>([
    ['no config.dump', 'no-config', () => without('config.dump'), {}],
    ['config.dump is no JSON', 'bad-config', () => changed('config.dump', '{"id":'), {}],
    ['config.dump is a list', 'bad-config', () => changed('config.dump', '[]'), {}],
    ['config.dump is not UTF-8', 'bad-config', () => changed('config.dump', Buffer.from([0x22, 0xff, 0x22])), {}],
    ['config.dump twice', 'malformed', () => [...members(), { name: './config.dump', content: '{}' }], {}],
    ['config.dump is huge', 'malformed', () => changed('config.dump', Buffer.alloc(1024 * 1024 + 1, 32)), {}],
    ['the inventory is no CRIU image', 'not-criu', () => changed('checkpoint/inventory.img', 'nothing like it'), {}],
    ['the inventory is empty', 'not-criu', () => changed('checkpoint/inventory.img', ''), {}],
    ['no pages', 'incomplete', () => without('checkpoint/pages-1.img', 'checkpoint/pages-2.img'), {}],
    ['no process tree', 'incomplete', () => without('checkpoint/pstree.img'), {}],
    ['another container', 'wrong-container', () => members(), { containerName: 'sidecar' }],
  ])('fails: %s', async (_what, code, list, options) => {
    expect((await failure(await archive(list()), options)).code).toBe(code);
  });

  test('something else than a tar, or gzip, fails with a hint', async () => {
    expect((await failure(Buffer.alloc(2000, 65))).message).toMatch(/damaged, compressed, or not a tar/);
    expect((await failure(Buffer.alloc(0))).code).toBe('truncated');
  });

  test('data behind the end marker fails', async () => {
    const input = await archive(members());
    expect((await failure(Buffer.concat([input, Buffer.from('more')]))).code).toBe('malformed');
  });

  test('a source that fails or is stopped ends both sides', async () => {
    const input = await archive(members());
    const broken = Readable.from(
      (async function* () {
        yield input.subarray(0, 5000);
        throw new Error('disk read error');
      })(),
      { objectMode: false },
    );
    const { output, summary } = rewriteArchive(broken);
    await expect(buffer(output)).rejects.toMatchObject({ code: 'io', message: expect.stringContaining('disk read error') });
    await expect(summary).rejects.toMatchObject({ code: 'io' });

    const hanging = new PassThrough();
    hanging.write(input.subarray(0, 5000));
    const stop = new AbortController();
    const pass = rewriteArchive(hanging, { signal: stop.signal });
    pass.output.resume();
    const ended = new Promise((done) => pass.output.on('error', done));
    stop.abort();
    await expect(pass.summary).rejects.toMatchObject({ code: 'aborted' });
    expect(await ended).toMatchObject({ code: 'aborted' });
    expect(hanging.destroyed).toBe(true);
  });

  test('a reader that stops reading holds the source back, and leaving stops it', async () => {
    let produced = 0;
    const head = (await archive([{ name: 'big', content: Buffer.alloc(0) }])).subarray(0, 512);
    const { encodeHeader } = await import('../../../src/archive/tar.ts');
    const big = encodeHeader({ name: 'big', mode: 0o600, uid: 0, gid: 0, size: 2 ** 34, mtime: 0, type: '0', linkname: '' });
    const source = Readable.from(
      (async function* () {
        yield head;
        yield big;
        for (;;) {
          produced += 65_536;
          yield Buffer.alloc(65_536);
        }
      })(),
      { objectMode: false },
    );
    const { output, summary } = rewriteArchive(source);
    await sleep(200);
    expect(produced).toBeLessThan(8 * 1024 * 1024);
    output.destroy();
    await expect(summary).rejects.toMatchObject({ code: 'aborted' });
    expect(source.destroyed).toBe(true);
  });
});

describe('describeArchive', () => {
  test('says what is missing instead of failing', async () => {
    const list = without('checkpoint/pages-1.img', 'checkpoint/pages-2.img', 'status.dump', 'checkpoint/core-1.img');
    const summary = await describeArchive(
      chunked(await archive([...list, { name: 'link', header: { type: 'symlink', linkname: '/etc/passwd' } }])),
    );
    expect(summary.missing).toEqual(['status.dump', 'checkpoint/core-*.img', 'checkpoint/pages-*.img']);
    expect(summary.complete).toBe(false);
    expect(summary.unexpected).toEqual(['link']);
    expect(summary.bytesOut).toBe(summary.bytesIn);
  });

  test("CRI-O's archives need no status.dump, and its names are understood", async () => {
    const list = without('status.dump').map((member) =>
      member.name === 'config.dump'
        ? { ...member, content: JSON.stringify({ ...config, runtime: 'runc', name: 'k8s_counter_p_ns_uid_0' }) }
        : member,
    );
    const summary = await describeArchive(chunked(await archive(list)));
    expect(summary).toMatchObject({ complete: true, containerName: 'counter' });
  });

  test('a truncated archive still fails', async () => {
    const input = await archive(members());
    await expect(describeArchive(chunked(input.subarray(0, 3000)))).rejects.toMatchObject({ code: 'truncated' });
  });
});
