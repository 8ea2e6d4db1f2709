import type { SourceRequest } from '../api/agent.ts';
import { refuseRoom } from '../plan/room.ts';
import { goesBeside, type SourcePorts } from './source-record.ts';

/**
 * Looks whether the checkpoint of containers that still run will fit on both nodes. What a file system does not tell is not
 * checked. Volumes are not counted, since that means to walk through all of their files.
 *
 * @param memory of the containers, bytes
 * @throws Error that says what lacks where
 */
export function assertRoom(ports: SourcePorts, request: SourceRequest, memory: number): void {
  const { namespace, pod, nodeName, destination } = request;
  const refusal = refuseRoom(
    `${namespace}/${pod}`,
    { memory, way: ports.way, beside: ports.way === 'runtime' && goesBeside(request) },
    { name: nodeName ? `node ${nodeName}` : 'its node', free: ports.freeBytes() },
    { name: destination.nodeName ? `node ${destination.nodeName}` : 'the destination', free: destination.freeBytes },
  );
  if (refusal) throw new Error(refusal);
}
