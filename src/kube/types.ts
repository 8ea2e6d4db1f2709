import type { ObjectMeta } from '../api/migration.ts';

/** A type of @kubernetes/client-node as it looks on the wire: no Date is ever made, times stay the strings the API server sent. */
export type Raw<T> = T extends Date
  ? string
  : T extends (infer Item)[]
    ? Raw<Item>[]
    : T extends object
      ? { [Key in keyof T]: Raw<T[Key]> }
      : T;

/** A client-node type as raw JSON with the metadata that every stored object has. */
export type Stored<T> = Omit<Raw<T>, 'metadata'> & { metadata: ObjectMeta };

/**
 * Any object of the API as the API server sent it. Fields that no type here knows are still in it, so that what is read
 * can be written again without loss.
 */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

/** An object to be created: the name may be left to the API server (`generateName`). */
export type Draft<T extends KubeObject> = Omit<T, 'metadata'> & { metadata: Omit<ObjectMeta, 'name'> & { name?: string } };

/** Which object. `namespace` is needed for namespaced resources and refused for others. */
export interface ObjectRef {
  name: string;
  namespace?: string | undefined;
}

/** One kind of object and where the API server has it. `T` is what its objects look like; nothing checks that at run time. */
export interface Resource<T extends KubeObject = KubeObject> {
  /** API group, `''` for core. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Never set; it ties the object type to the descriptor. */
  readonly objectType?: T;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** What the whole call may take, retries included. Milliseconds; the client's default is 10,000. */
  deadline?: number | undefined;
}

export interface Selection {
  /** Namespaced resources: one namespace, or all when left out. */
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
}

export function apiVersionOf(resource: Resource): string {
  return resource.group ? `${resource.group}/${resource.version}` : resource.version;
}

/** URL path of a collection, an object or a subresource of it. */
export function pathOf(resource: Resource, namespace?: string, name?: string, subresource?: string): string {
  if (!resource.namespaced && namespace) throw new TypeError(`${resource.plural} have no namespace, but one was given: ${namespace}`);
  if (resource.namespaced && name !== undefined && !namespace) throw new TypeError(`${resource.kind} ${name}: no namespace given`);
  // An empty name would turn a call on one object into one on the whole collection.
  if (name === '') throw new TypeError(`${resource.kind}: empty name`);
  const parts = [resource.group ? `/apis/${resource.group}/${resource.version}` : `/api/${resource.version}`];
  if (namespace) parts.push('namespaces', encodeURIComponent(namespace));
  parts.push(resource.plural);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource) parts.push(subresource);
  return parts.join('/');
}

/** `namespace/name`, or the name alone for cluster-wide objects: the key used by stores and queues. */
export function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace ? `${namespace}/${name}` : name;
}
