import { z } from 'zod';
import type { Container } from './protocol.ts';

/** Where containerd's CRI plugin keeps what it remembers of a container (internal/cri/store/container, Metadata). */
const extension = 'io.cri-containerd.container.metadata';

const schema = z.object({
  Name: z.string(),
  /** Id of the image, which is a name of it too. */
  ImageRef: z.string(),
  LogPath: z.string().default(''),
  /** ContainerConfig of the CRI. */
  Config: z.object({
    metadata: z.object({ name: z.string() }),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
    mounts: z.array(z.record(z.string(), z.unknown())).optional(),
  }),
});

export type CriContainer = z.infer<typeof schema>;

/** @throws Error when the container was not made by the CRI plugin */
export function criContainerOf({ id, extensions }: Container): CriContainer {
  const value = extensions[extension]?.value;
  if (!value) throw new Error(`container ${id} is not one of Kubernetes: containerd's CRI plugin remembers nothing of it`);
  return z.object({ Metadata: schema }).parse(JSON.parse(Buffer.from(value).toString('utf8'))).Metadata;
}
