import { createWriteStream } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { imagesDirectory } from '../../archive/directory.ts';
import { mediaTypes } from '../../image/media-types.ts';
import type { Turns } from '../../util/turns.ts';
import { dumpBegun } from '../dump-stages.ts';
import type { WriteCheckpoint } from '../runtime.ts';
import type { ContainerdClient } from './client.ts';
import { type CriContainer, criContainerOf } from './cri-metadata.ts';
import { type Container, toRfc3339 } from './protocol.ts';

/** Cleaning up after a checkpoint may take so long. Milliseconds. */
const cleanUpDeadline = 10_000;

/** What containerd knows of a container that stays as it is while it runs. */
interface Known {
  container: Container;
  cri: CriContainer;
  /** Of the image's name; undefined: containerd knows none such any more. */
  digest: string | undefined;
  /** The snapshot that the container's own is made on. */
  parent: string;
}

/**
 * Gets ready to write a container's checkpoint, laid out as the archive that containerd's CRI plugin makes for
 * the kubelet (internal/cri/server/container_checkpoint_linux.go), but in one writing: there the images go to a temporary
 * directory, the content store, an unpacked copy, a tar and the kubelet's file. CRIU's images are in `checkpoint/` from the
 * beginning and grow there; everything else is whole when the writing resolves.
 *
 * @param diffs those of one content store: containers that changed the same, as those that changed nothing, have one diff
 *   there, which is removed once it is read
 */
export async function prepareCheckpoint(client: ContainerdClient, id: string, diffs: Turns, signal: AbortSignal): Promise<WriteCheckpoint> {
  const container = await client.getContainer(id, signal);
  const [image, parent] = await Promise.all([
    client.getImage(container.image, signal),
    client.parentOfSnapshot(container.snapshotter, container.snapshot_key, signal),
  ]);
  const known = { container, cri: criContainerOf(container), digest: image?.target.digest, parent };
  return (directory, stop) => write(client, known, directory, diffs, stop);
}

function write(client: ContainerdClient, known: Known, directory: string, diffs: Turns, signal: AbortSignal): ReturnType<WriteCheckpoint> {
  const images = join(directory, imagesDirectory);
  const dump = client.checkpointTask(known.container.id, images, directory, signal);
  const begun = dumpBegun(images, dump);
  const rest = async () => {
    await begun;
    await Promise.all([
      diffs.take(() => writeRootfsDiff(client, known, join(directory, 'rootfs-diff.tar'), signal)),
      writeMetadata(known, directory),
      copyLog(known.cri, join(directory, 'container.log')),
    ]);
  };
  const bothToTheirEnd = async () => {
    // CRIU goes on whatever becomes of the rest.
    const parts = await Promise.allSettled([dump, rest()]);
    for (const part of parts) if (part.status === 'rejected') throw part.reason;
  };
  return { begun, whole: bothToTheirEnd() };
}

/** What the container has changed of its image's files, as an OCI layer; containerd knows how its snapshotter keeps it. */
async function writeRootfsDiff(client: ContainerdClient, { container, parent }: Known, path: string, signal: AbortSignal): Promise<void> {
  const { snapshotter, snapshot_key: key } = container;
  const view = `podferry-${container.id}`;
  const quickly = () => AbortSignal.timeout(cleanUpDeadline);
  // A view that an earlier try left.
  await client.removeSnapshot(snapshotter, view, quickly()).catch(() => undefined);
  const left = await client.viewSnapshot(snapshotter, view, parent, signal);
  try {
    const right = await client.mountsOfSnapshot(snapshotter, key, signal);
    // Without a root the garbage collection may take it before it is read.
    const labels = { 'containerd.io/gc.root': new Date().toISOString() };
    const { digest, size } = await client.diff({ left, right, mediaType: mediaTypes.layer, ref: view, labels, signal });
    try {
      const content = Readable.from(client.readContent(digest, 0, size, signal), { objectMode: false });
      await pipeline(content, createWriteStream(path, { mode: 0o600 }), { signal });
    } finally {
      await client.deleteContent(digest, quickly()).catch(() => undefined);
    }
  } finally {
    await client.removeSnapshot(snapshotter, view, quickly()).catch(() => undefined);
  }
}

/** `config.dump`, `spec.dump` and `status.dump`, with what a restore or checkpointctl reads of them (see `CheckpointConfig`). */
async function writeMetadata({ container, cri, digest }: Known, directory: string): Promise<void> {
  const { id, image } = container;
  const created = toRfc3339(container.created_at);
  const reference = digest ? `${image.replace(/@.*$/, '').replace(/:[^:/]*$/, '')}@${digest}` : image;
  const config = {
    id,
    name: cri.Name,
    rootfsImage: image,
    rootfsImageRef: reference,
    rootfsImageName: image,
    runtime: 'io.containerd.runc.v2',
    createdTime: created,
    checkpointedTime: new Date().toISOString(),
    restoredTime: '0001-01-01T00:00:00Z',
    restored: false,
  };
  const { metadata, labels = {}, annotations = {}, mounts = [] } = cri.Config;
  const nanoseconds = Date.parse(created) * 1e6;
  const status = {
    id,
    metadata,
    // CONTAINER_RUNNING of the CRI.
    state: 1,
    created_at: nanoseconds,
    started_at: nanoseconds,
    image: { image },
    image_ref: reference,
    labels,
    annotations,
    mounts,
    log_path: cri.LogPath,
  };
  const files: [string, string | Uint8Array][] = [
    ['config.dump', JSON.stringify(config)],
    ['spec.dump', container.spec?.value ?? ''],
    ['status.dump', JSON.stringify(status)],
  ];
  await Promise.all(files.map(([name, content]) => writeFile(join(directory, name), content, { mode: 0o600 })));
}

/** What the container wrote so far goes on in the log of the target; without it nothing but that is lost. */
async function copyLog({ LogPath }: CriContainer, to: string): Promise<void> {
  if (LogPath) await copyFile(LogPath, to).catch(() => undefined);
}
