import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packVolume } from '../../../src/archive/volume-pack.ts';
import { unpackVolume } from '../../../src/archive/volume-unpack.ts';

let work: string;
beforeEach(async () => {
  // On a disk: the attributes of some temporary file systems are fewer.
  work = await mkdtemp(join(tmpdir(), 'podferry-xattrs-'));
});
afterEach(() => rm(work, { recursive: true, force: true }));

const set = (path: string, name: string, value: string) => execFileSync('setfattr', ['-h', '-n', name, '-v', value, path]);
const dump = (directory: string) =>
  execFileSync('getfattr', ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'base64', '.'], { cwd: directory }).toString();

/** One ACL entry for uid 7 beside the usual ones, and CAP_NET_BIND_SERVICE: linux/posix_acl_xattr.h, linux/capability.h (version 2). */
const acl = '0sAgAAAAEABgD/////AgAEAAcAAAAEAAQA/////xAABAD/////IAAEAP////8=';
const capability = '0sAQAAAgAEAAAAAAAAAAAAAAAAAAA=';

it('user attributes, ACLs and capabilities of files and directories travel, whatever is in names and values', async () => {
  const from = join(work, 'from');
  await mkdir(join(from, 'sub dir'), { recursive: true });
  await writeFile(join(from, 'file'), 'text');
  await writeFile(join(from, 'sub dir', 'odd\nname\\'), 'more');
  await symlink('file', join(from, 'link'));
  set(from, 'user.root', 'r');
  set(join(from, 'file'), 'user.note', 'a\nb=c\\d');
  set(join(from, 'file'), 'system.posix_acl_access', acl);
  set(join(from, 'sub dir'), 'user.empty', '');
  set(join(from, 'sub dir', 'odd\nname\\'), 'security.capability', capability);
  const before = dump(from);
  expect(before.match(/^[a-z]+\./gm)).toHaveLength(5);

  const to = join(work, 'to');
  const { output, summary } = packVolume(from);
  const back = await unpackVolume(output, to);
  expect((await summary).skipped).toEqual([]);
  expect(back.skipped).toEqual([]);
  expect(dump(to)).toBe(before);
});

it('a file without attributes costs no record', async () => {
  await writeFile(join(work, 'plain'), 'text');
  const { output, summary } = packVolume(work);
  const chunks: Buffer[] = [];
  for await (const chunk of output) chunks.push(chunk as Buffer);
  await summary;
  expect(Buffer.concat(chunks).toString('latin1')).not.toContain('SCHILY');
});
