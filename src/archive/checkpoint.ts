import { ArchiveError } from './errors.ts';
import { displayName, type PaxRecords } from './tar.ts';

/**
 * `config.dump`: the struct `ContainerConfig` of checkpointctl, lib/metadata.go (github.com/checkpoint-restore/checkpointctl),
 * which containerd and CRI-O write and read.
 *
 * What containerd 2.1.9 reads back on restore (internal/cri/server/container_checkpoint_linux.go, CRImportCheckpoint):
 * - `rootfsImageRef`: pulled with `client.Pull` and its default resolver, always, even when the image is present; the
 *   image that this pull names becomes the container's root file system. The one field podferry rewrites.
 * - `rootfsImageName`: only parsed (`reference.ParseAnyReference`); the restore fails if it is no valid reference.
 *   Never pulled or looked up.
 * - `rootfsImage`: not read at all.
 * - `checkpointedTime`: becomes the annotation `checkpointedAt` of the new container.
 * - `id`: only for a restore without a sandbox, which the kubelet never asks for. `name`, `runtime`, `createdTime`: not read.
 * The image shown in the container's status comes from `status.dump` (a CRI ContainerStatus), not from here. Besides,
 * containerd needs `spec.dump` and `status.dump`, and refuses an archive with anything but files and directories in it
 * (assertCheckpointDirSafe).
 *
 * All fields as they were found; a field that is absent or of another type is left out.
 */
export interface CheckpointConfig {
  /** Id of the container in its runtime. */
  id?: string;
  /** The runtime's name of the container: containerd writes `NAME_POD_NAMESPACE_UID_ATTEMPT`, CRI-O puts `k8s_` before it. */
  name?: string;
  rootfsImage?: string;
  rootfsImageRef?: string;
  rootfsImageName?: string;
  /** `io.containerd.runc.v2`, or CRI-O's `runc` or `crun`. */
  runtime?: string;
  /** RFC 3339, the source node's clock. */
  createdTime?: string;
  checkpointedTime?: string;
}

/** What one pass over an archive found. Sizes in bytes. */
export interface ArchiveSummary {
  /** Size of the archive as it was read, padding included. */
  bytesIn: number;
  /** Size as it was passed on (another `rootfsImageRef` changes it); for `describeArchive` the same as `bytesIn`. */
  bytesOut: number;
  /** CRC-32 of the archive as it was read. */
  checksum: number;
  /** Entries of the tar, directories included. */
  entries: number;
  /** CRIU's `pages-*.img`: the memory itself. */
  pagesBytes: number;
  /** `rootfs-diff.tar`: what the container changed in its root file system. */
  rootfsDiffBytes: number;
  /** Kubernetes' name of the container, taken from `config.name`; undefined when that has another form. */
  containerName: string | undefined;
  /** `config.dump` as it was before the rewrite. */
  config: CheckpointConfig;
  /** What a restore needs and the archive lacks, as names or patterns; empty when it is complete. */
  missing: string[];
  /** Whether nothing is missing. */
  complete: boolean;
  /** Entries that are neither files nor directories (at most 10 names): containerd refuses to restore such an archive. */
  unexpected: string[];
}

/**
 * CRIU's magic numbers (criu/include/magic.h), little endian at the start of an image: the inventory has its own alone,
 * every other image has IMG_COMMON_MAGIC first (img_write_magic in criu/image.c); pages are raw.
 */
const magic = { common: 0x54564319, inventory: 0x58313116, pstree: 0x50273030, core: 0x55053847 } as const;

/** Limit for `config.dump`, which is held in memory. Bytes; real ones have a few hundred. */
const maxConfigBytes = 1024 * 1024;

/** Files that a restore needs, besides CRIU's numbered ones. */
const singleFiles = ['config.dump', 'spec.dump', 'status.dump', 'checkpoint/inventory.img', 'checkpoint/pstree.img'];

type ImageKind = 'inventory' | 'pstree' | 'core';

function imageKind(name: string): ImageKind | undefined {
  if (name === 'checkpoint/inventory.img') return 'inventory';
  if (name === 'checkpoint/pstree.img') return 'pstree';
  return /^checkpoint\/core-[0-9]+\.img$/.test(name) ? 'core' : undefined;
}

/** The name of an entry as podferry compares it: text, without a leading `./`. */
export function entryName(rawName: string): string {
  return displayName(rawName).replace(/^(\.\/)+/, '');
}

/** Kubernetes' container name in the runtime's name of a container. Container names have no `_` in them. */
function containerNameOf(name: string | undefined): string | undefined {
  const parts = name?.split('_') ?? [];
  if (parts.length === 6 && parts[0] === 'k8s') return parts[1];
  return parts.length === 5 ? parts[0] : undefined;
}

/** Watches the entries of an archive go by and judges at the end. */
export class CheckpointInspector {
  #entries = 0;
  #pagesBytes = 0;
  #rootfsDiffBytes = 0;
  #unexpected: string[] = [];
  #seen = new Set<string>();
  #config: CheckpointConfig | undefined;
  #head: { name: string; kind: ImageKind; bytes: Buffer } | undefined;

  /**
   * An entry begins. Returns whether it is `config.dump`, whose whole content is to be given to `config`.
   * @throws ArchiveError `malformed` for a second or an oversized `config.dump`
   */
  entry(entry: { name: string; type: string; size: number; pax: PaxRecords }): boolean {
    this.#entries++;
    this.#head = undefined;
    const name = entryName(entry.name);
    const isFile = entry.type === '0' || entry.type === '7';
    if (!isFile && entry.type !== '5' && this.#unexpected.length < 10) this.#unexpected.push(name);
    if (!isFile) return false;
    const kind = imageKind(name);
    if (kind !== undefined) this.#head = { name, kind, bytes: Buffer.alloc(0) };
    if (/^checkpoint\/pages-[0-9]+\.img$/.test(name)) {
      this.#pagesBytes += entry.size;
      this.#seen.add('checkpoint/pages-*.img');
    } else if (kind === 'core') this.#seen.add('checkpoint/core-*.img');
    else if (singleFiles.includes(name)) this.#seen.add(name);
    if (name === 'rootfs-diff.tar') this.#rootfsDiffBytes += entry.size;
    if (name !== 'config.dump') return false;
    // Which of two would count depends on who reads: an archive like that is not passed on.
    if (this.#config !== undefined) throw new ArchiveError('malformed', 'the archive has more than one config.dump');
    if (entry.size > maxConfigBytes) {
      throw new ArchiveError('malformed', `config.dump has ${entry.size} bytes; more than ${maxConfigBytes} are not read`);
    }
    return true;
  }

  /** Content of the current entry. */
  data(chunk: Buffer): void {
    const head = this.#head;
    if (head !== undefined && head.bytes.length < 8) head.bytes = Buffer.concat([head.bytes, chunk.subarray(0, 8 - head.bytes.length)]);
  }

  /**
   * The current entry is complete.
   * @throws ArchiveError `not-criu`
   */
  end(): void {
    const head = this.#head;
    if (head === undefined) return;
    this.#head = undefined;
    const word = (offset: number) => (head.bytes.length >= offset + 4 ? head.bytes.readUInt32LE(offset) : undefined);
    const own = word(0) === magic.common ? word(4) : head.kind === 'inventory' ? word(0) : undefined;
    if (own !== magic[head.kind]) {
      const found = head.bytes.length === 0 ? 'it is empty' : `it starts with ${head.bytes.toString('hex')}`;
      throw new ArchiveError('not-criu', `${head.name} is not the CRIU image it should be: ${found}; the archive is damaged`);
    }
  }

  /**
   * The whole content of `config.dump`. Returns the parsed document.
   * @throws ArchiveError `bad-config`; `wrong-container` when `expected` is given and it is another's checkpoint
   */
  config(content: Buffer, expected: string | undefined): Record<string, unknown> {
    let document: unknown;
    try {
      document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content));
    } catch (error) {
      throw new ArchiveError('bad-config', `config.dump is not valid JSON: ${(error as Error).message}`, { cause: error });
    }
    if (typeof document !== 'object' || document === null || Array.isArray(document)) {
      throw new ArchiveError('bad-config', 'config.dump is not a JSON object');
    }
    const fields = document as Record<string, unknown>;
    const config: Record<string, string> = {};
    for (const key of configFields) {
      const value = fields[key];
      if (typeof value === 'string') config[key] = value;
    }
    this.#config = config;
    const name = containerNameOf(this.#config.name);
    if (expected !== undefined && (name ?? this.#config.name) !== expected) {
      throw new ArchiveError(
        'wrong-container',
        `the archive is of container ${name ?? this.#config.name ?? '(no name)'}, not of ${expected}`,
      );
    }
    return fields;
  }

  /**
   * The judgement, once the archive has ended well.
   *
   * @param pagesBeside the memory is shipped beside the archive
   * @throws ArchiveError `no-config`; `incomplete` if that is demanded and something is missing
   */
  summary(
    passed: Pick<ArchiveSummary, 'bytesIn' | 'bytesOut' | 'checksum'>,
    requireComplete: boolean,
    pagesBeside = false,
  ): ArchiveSummary {
    const config = this.#config;
    if (config === undefined) throw new ArchiveError('no-config', 'the archive has no config.dump: it is not a checkpoint archive');
    // Only containerd needs status.dump: CRImportCheckpoint fails without it.
    const containerd = config.runtime?.startsWith('io.containerd.') ?? false;
    const needed = [
      ...singleFiles.filter((name) => containerd || name !== 'status.dump'),
      'checkpoint/core-*.img',
      ...(pagesBeside ? [] : ['checkpoint/pages-*.img']),
    ];
    const missing = needed.filter((name) => !this.#seen.has(name));
    if (requireComplete && missing.length > 0) {
      throw new ArchiveError(
        'incomplete',
        `the checkpoint archive cannot be restored, it lacks ${missing.join(', ')}; take the checkpoint again`,
      );
    }
    return {
      ...passed,
      entries: this.#entries,
      pagesBytes: this.#pagesBytes,
      rootfsDiffBytes: this.#rootfsDiffBytes,
      containerName: containerNameOf(config.name),
      config,
      missing,
      complete: missing.length === 0,
      unexpected: this.#unexpected,
    };
  }
}

const configFields = [
  'id',
  'name',
  'rootfsImage',
  'rootfsImageRef',
  'rootfsImageName',
  'runtime',
  'createdTime',
  'checkpointedTime',
] as const satisfies readonly (keyof CheckpointConfig)[];
