import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * In `checkpoint/`: names of CRIU's files of memory and where they lie, a line each. Files in `parent/` are those of an earlier
 * checkpoint that this one only says the changes of.
 */
export const linksFile = 'podferry.pages';

/**
 * CRIU runs it (`action-script`, criu(8)) at every stage of a dump and a restore, with the stage and the directory of the
 * images in the environment. Before a restore it links the memory that lies beside a checkpoint into it: a hard link costs
 * nothing, where the image of the container would be written to the content store, unpacked and copied. Symbolic links do
 * not do: CRIU opens the files from the mount namespace of the container.
 */
const script = `#!/bin/sh
# Written by podferry's agent. Does nothing but for checkpoints whose memory podferry keeps beside them.
[ "$CRTOOLS_SCRIPT_ACTION" = pre-restore ] && [ -f "$CRTOOLS_IMAGE_DIR/${linksFile}" ] || exit 0
cd "$CRTOOLS_IMAGE_DIR" || exit 1
while read -r name source; do
  case $name in
    *..*) exit 1 ;;
    pages-*.img) ;;
    parent/*) [ -d "\${name%/*}" ] || mkdir -p "\${name%/*}" || exit 1 ;;
    *) exit 1 ;;
  esac
  ln -f "$source" "$name" 2>/dev/null || cp --reflink=auto "$source" "$name" || exit 1
done <${linksFile}
`;

/** Writes the script; the node needs `/bin/sh` for it. @param path the same on the node and in this process */
export async function ensureCriuHook(path: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === script) return;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, script);
  await chmod(`${path}.new`, 0o755);
  await rename(`${path}.new`, path);
}
