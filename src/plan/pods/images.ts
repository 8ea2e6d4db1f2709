import { internalAnnotations } from '../../api/names.ts';
import type { Container, Pod } from '../../api/pod.ts';
import { runningContainerStatuses, runningContainers } from '../../api/pod.ts';

/** A container's image as its owner asked for it; a pod that was migrated before remembers it in an annotation. */
export function originalImage(pod: Pod, container: Container): string {
  return recorded(pod, internalAnnotations.originalImages, container.name) ?? container.image ?? '';
}

/**
 * The base image a running container was started from, by digest, so that the destination gets exactly that one even
 * if its tag has moved on meanwhile. `imageID` is a repository digest with containerd and CRI-O (CRI ImageStatus,
 * `image_ref`); where a runtime reports only a local id, the reference of the spec has to do.
 */
export function baseImage(pod: Pod, container: Container): string {
  const known = recorded(pod, internalAnnotations.baseImages, container.name);
  if (known) return known;
  const original = originalImage(pod, container);
  if (original.includes('@sha256:')) return original;
  const id = runningContainerStatuses(pod).find((status) => status.name === container.name)?.imageID ?? '';
  const digest = /@(sha256:[0-9a-f]{64})$/.exec(id)?.[1];
  return digest ? `${withoutTag(original)}@${digest}` : original;
}

export function baseImages(pod: Pod): { name: string; image: string; baseImage: string }[] {
  return runningContainers(pod).map((container) => ({
    name: container.name,
    image: originalImage(pod, container),
    baseImage: baseImage(pod, container),
  }));
}

/** The pod's volumes of type emptyDir. */
export function emptyDirs(pod: Pod): string[] {
  return (pod.spec.volumes ?? []).filter((volume) => volume.emptyDir).map((volume) => volume.name);
}

function withoutTag(reference: string): string {
  const colon = reference.lastIndexOf(':');
  return colon > reference.lastIndexOf('/') ? reference.slice(0, colon) : reference;
}

/** What an annotation of podferry's says of a container; undefined where it is missing or damaged. */
function recorded(pod: Pod, annotation: string, container: string): string | undefined {
  try {
    const value: unknown = JSON.parse(pod.metadata.annotations?.[annotation] ?? '{}');
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, container)) return undefined;
    const text = (value as Record<string, unknown>)[container];
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}
