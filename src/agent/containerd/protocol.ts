import type * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/**
 * The messages of containerd's API that podferry uses, field numbers as in github.com/containerd/containerd/api v1.9
 * (services/{containers,content,diff,events,images,snapshots,tasks}/v1, types; runtime options of runc), of its shims' (ttrpc's request.proto; runtime/task,
 * Resume), of github.com/containerd/cgroups (cgroup{1,2}/stats/metrics.proto), and of the CRI (k8s.io/cri-api, runtime/v1). Written out here, since a field that is not named is skipped
 * by protobuf anyway, and the whole API is many times as long.
 */
const source = `
syntax = "proto3";
package containerd;
message Timestamp { int64 seconds = 1; int32 nanos = 2; }
message Any { string type_url = 1; bytes value = 2; }
message Empty {}

message Container {
  string id = 1;
  map<string, string> labels = 2;
  string image = 3;
  Any spec = 5;
  string snapshotter = 6;
  string snapshot_key = 7;
  Timestamp created_at = 8;
  map<string, Any> extensions = 10;
}
message ListContainersRequest { repeated string filters = 1; }
message ListContainersResponse { repeated Container containers = 1; }
message GetContainerRequest { string id = 1; }
message GetContainerResponse { Container container = 1; }

message GetTaskRequest { string container_id = 1; string exec_id = 2; }
message Process { string container_id = 1; string id = 2; uint32 pid = 3; uint32 status = 4; }
message GetTaskResponse { Process process = 1; }
message TaskRequest { string container_id = 1; }
message CheckpointTaskRequest { string container_id = 1; Any options = 3; }
message CheckpointOptions { bool exit = 1; string image_path = 8; string work_path = 9; }

message MetricsRequest { repeated string filters = 1; }
message Metric { string id = 2; Any data = 3; }
message MetricsResponse { repeated Metric metrics = 1; }
message CgroupV1Memory { uint64 total_rss = 19; uint64 total_inactive_anon = 28; uint64 total_active_anon = 29; }
message CgroupV1Metrics { CgroupV1Memory memory = 4; }
message CgroupV2Memory { uint64 anon = 1; uint64 shmem = 6; }
message CgroupV2Metrics { CgroupV2Memory memory = 4; }

message InfoRequest { string digest = 1; }
message Info { string digest = 1; int64 size = 2; }
message InfoResponse { Info info = 1; }
message ReadContentRequest { string digest = 1; int64 offset = 2; int64 size = 3; }
message ReadContentResponse { int64 offset = 1; bytes data = 2; }
message DeleteContentRequest { string digest = 1; }

message Mount { string type = 1; string source = 2; string target = 3; repeated string options = 4; }
message SnapshotRequest { string snapshotter = 1; string key = 2; }
message ViewSnapshotRequest { string snapshotter = 1; string key = 2; string parent = 3; }
message SnapshotInfo { string name = 1; string parent = 2; }
message StatSnapshotResponse { SnapshotInfo info = 1; }
message MountsResponse { repeated Mount mounts = 1; }
message DiffRequest { repeated Mount left = 1; repeated Mount right = 2; string media_type = 3; string ref = 4; map<string, string> labels = 5; }
message DiffResponse { Descriptor diff = 3; }

message Descriptor { string media_type = 1; string digest = 2; int64 size = 3; }
message Image { string name = 1; map<string, string> labels = 2; Descriptor target = 3; }
message GetImageRequest { string name = 1; }
message CreateImageRequest { Image image = 1; }
message ImageResponse { Image image = 1; }
message ListImagesRequest { repeated string filters = 1; }
message ListImagesResponse { repeated Image images = 1; }
message DeleteImageRequest { string name = 1; bool sync = 2; }

message SubscribeRequest { repeated string filters = 1; }
message Envelope { Timestamp timestamp = 1; string namespace = 2; string topic = 3; Any event = 4; }
message TaskStart { string container_id = 1; uint32 pid = 2; }

message ShimRequest { string service = 1; string method = 2; bytes payload = 3; }
message ShimStatus { int32 code = 1; string message = 2; }
message ShimResponse { ShimStatus status = 1; bytes payload = 2; }
message ResumeRequest { string id = 1; }

message ImageSpec { string image = 1; }
message PullImageRequest { ImageSpec image = 1; }
message PullImageResponse { string image_ref = 1; }
`;

const root = protobuf.parse(source, { keepCase: true }).root;

interface Timestamp {
  seconds: number;
  nanos: number;
}

export interface Container {
  id: string;
  labels: Record<string, string>;
  image: string;
  spec?: { value: Uint8Array };
  snapshotter: string;
  snapshot_key: string;
  created_at: Timestamp;
  extensions: Record<string, { value: Uint8Array }>;
}

export interface Image {
  name: string;
  labels: Record<string, string>;
  target: { digest: string };
}

export interface Mount {
  type: string;
  source: string;
  options: string[];
}

export interface Process {
  pid: number;
  status: number;
}

export interface Metric {
  id: string;
  data: { type_url: string; value: Uint8Array } | null;
}

/** containerd.v1.types.Status (api/types/task/task.proto). */
export const taskStatus = { running: 2, stopped: 3, paused: 4, pausing: 5 } as const;

export interface Envelope {
  timestamp: Timestamp;
  topic: string;
  event: { type_url: string; value: Uint8Array };
}

/** Of one of these messages. */
export function codec(name: string) {
  const type = root.lookupType(`containerd.${name}`);
  return {
    encode: (value: object): Buffer => Buffer.from(type.encode(type.fromObject(value)).finish()),
    decode: (bytes: Buffer): unknown =>
      type.toObject(type.decode(bytes), {
        longs: Number,
        defaults: true,
        arrays: true,
        objects: true,
        bytes: Buffer as unknown as StringConstructor,
      }),
  };
}

export function decodeTaskStart(bytes: Uint8Array): { container_id: string } {
  return codec('TaskStart').decode(Buffer.from(bytes)) as { container_id: string };
}

export function toRfc3339(timestamp: Timestamp): string {
  return new Date(timestamp.seconds * 1000 + Math.floor(timestamp.nanos / 1e6)).toISOString();
}

function method(
  service: string,
  name: string,
  request: string,
  response: string,
  responseStream = false,
): grpc.MethodDefinition<object, unknown> {
  const input = codec(request);
  const output = codec(response);
  return {
    path: `/${service}/${name}`,
    requestStream: false,
    responseStream,
    requestSerialize: input.encode,
    requestDeserialize: input.decode as (bytes: Buffer) => object,
    responseSerialize: output.encode as (value: unknown) => Buffer,
    responseDeserialize: output.decode,
  };
}

function containerd(service: string, name: string, request: string, response: string, responseStream = false) {
  return method(`containerd.services.${service}`, name, request, response, responseStream);
}

export const methods = {
  listContainers: containerd('containers.v1.Containers', 'List', 'ListContainersRequest', 'ListContainersResponse'),
  getContainer: containerd('containers.v1.Containers', 'Get', 'GetContainerRequest', 'GetContainerResponse'),
  getTask: containerd('tasks.v1.Tasks', 'Get', 'GetTaskRequest', 'GetTaskResponse'),
  pauseTask: containerd('tasks.v1.Tasks', 'Pause', 'TaskRequest', 'Empty'),
  resumeTask: containerd('tasks.v1.Tasks', 'Resume', 'TaskRequest', 'Empty'),
  taskMetrics: containerd('tasks.v1.Tasks', 'Metrics', 'MetricsRequest', 'MetricsResponse'),
  checkpointTask: containerd('tasks.v1.Tasks', 'Checkpoint', 'CheckpointTaskRequest', 'Empty'),
  statSnapshot: containerd('snapshots.v1.Snapshots', 'Stat', 'SnapshotRequest', 'StatSnapshotResponse'),
  viewSnapshot: containerd('snapshots.v1.Snapshots', 'View', 'ViewSnapshotRequest', 'MountsResponse'),
  mountsOfSnapshot: containerd('snapshots.v1.Snapshots', 'Mounts', 'SnapshotRequest', 'MountsResponse'),
  removeSnapshot: containerd('snapshots.v1.Snapshots', 'Remove', 'SnapshotRequest', 'Empty'),
  diff: containerd('diff.v1.Diff', 'Diff', 'DiffRequest', 'DiffResponse'),
  deleteContent: containerd('content.v1.Content', 'Delete', 'DeleteContentRequest', 'Empty'),
  contentInfo: containerd('content.v1.Content', 'Info', 'InfoRequest', 'InfoResponse'),
  readContent: containerd('content.v1.Content', 'Read', 'ReadContentRequest', 'ReadContentResponse', true),
  getImage: containerd('images.v1.Images', 'Get', 'GetImageRequest', 'ImageResponse'),
  createImage: containerd('images.v1.Images', 'Create', 'CreateImageRequest', 'ImageResponse'),
  listImages: containerd('images.v1.Images', 'List', 'ListImagesRequest', 'ListImagesResponse'),
  deleteImage: containerd('images.v1.Images', 'Delete', 'DeleteImageRequest', 'Empty'),
  subscribe: containerd('events.v1.Events', 'Subscribe', 'SubscribeRequest', 'Envelope', true),
  pullImage: method('runtime.v1.ImageService', 'PullImage', 'PullImageRequest', 'PullImageResponse'),
} as const;
