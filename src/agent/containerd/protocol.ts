import type * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/**
 * The messages of containerd's API that podferry uses, field numbers as in github.com/containerd/containerd/api v1.9
 * (services/{containers,content,events,images,tasks}/v1, types). Written out here, since a field that is not named is skipped
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
  Timestamp created_at = 8;
}
message ListContainersRequest { repeated string filters = 1; }
message ListContainersResponse { repeated Container containers = 1; }
message GetContainerRequest { string id = 1; }
message GetContainerResponse { Container container = 1; }

message GetTaskRequest { string container_id = 1; string exec_id = 2; }
message Process { string container_id = 1; string id = 2; uint32 pid = 3; uint32 status = 4; }
message GetTaskResponse { Process process = 1; }
message TaskRequest { string container_id = 1; }

message InfoRequest { string digest = 1; }
message Info { string digest = 1; int64 size = 2; }
message InfoResponse { Info info = 1; }
message ReadContentRequest { string digest = 1; int64 offset = 2; int64 size = 3; }
message ReadContentResponse { int64 offset = 1; bytes data = 2; }

message Descriptor { string media_type = 1; string digest = 2; int64 size = 3; }
message Image { string name = 1; Descriptor target = 3; }
message ListImagesRequest { repeated string filters = 1; }
message ListImagesResponse { repeated Image images = 1; }
message DeleteImageRequest { string name = 1; bool sync = 2; }

message SubscribeRequest { repeated string filters = 1; }
message Envelope { Timestamp timestamp = 1; string namespace = 2; string topic = 3; Any event = 4; }
message TaskStart { string container_id = 1; uint32 pid = 2; }
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
  created_at: Timestamp;
}

export interface Process {
  pid: number;
  status: number;
}

/** containerd.v1.types.Status (api/types/task/task.proto). */
export const taskStatus = { running: 2, stopped: 3, paused: 4, pausing: 5 } as const;

export interface Envelope {
  timestamp: Timestamp;
  topic: string;
  event: { type_url: string; value: Uint8Array };
}

function codec(name: string) {
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
    path: `/containerd.services.${service}/${name}`,
    requestStream: false,
    responseStream,
    requestSerialize: input.encode,
    requestDeserialize: input.decode as (bytes: Buffer) => object,
    responseSerialize: output.encode as (value: unknown) => Buffer,
    responseDeserialize: output.decode,
  };
}

export const methods = {
  listContainers: method('containers.v1.Containers', 'List', 'ListContainersRequest', 'ListContainersResponse'),
  getContainer: method('containers.v1.Containers', 'Get', 'GetContainerRequest', 'GetContainerResponse'),
  getTask: method('tasks.v1.Tasks', 'Get', 'GetTaskRequest', 'GetTaskResponse'),
  pauseTask: method('tasks.v1.Tasks', 'Pause', 'TaskRequest', 'Empty'),
  resumeTask: method('tasks.v1.Tasks', 'Resume', 'TaskRequest', 'Empty'),
  contentInfo: method('content.v1.Content', 'Info', 'InfoRequest', 'InfoResponse'),
  readContent: method('content.v1.Content', 'Read', 'ReadContentRequest', 'ReadContentResponse', true),
  listImages: method('images.v1.Images', 'List', 'ListImagesRequest', 'ListImagesResponse'),
  deleteImage: method('images.v1.Images', 'Delete', 'DeleteImageRequest', 'Empty'),
  subscribe: method('events.v1.Events', 'Subscribe', 'SubscribeRequest', 'Envelope', true),
} as const;
