import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { tlsNames } from '../api/agent.ts';
import { BlobStore } from '../image/blob-store.ts';
import { createRegistryHandler } from '../image/registry-server.ts';
import { messageOf } from '../util/errors.ts';
import type { FromMemoryThread, MemoryThreadData, ToMemoryThread } from './memory-protocol.ts';
import { listen, mutualServer, secure } from './mutual-tls.ts';

/** The thread that takes memory in (see `memory-server.ts`); loads as little as it can. */

const agent = parentPort as MessagePort;
const { port, tls } = workerData as MemoryThreadData;
const say = (message: FromMemoryThread) => agent.postMessage(message);

const asked = new Map<number, (path: string | undefined) => void>();
let questions = 0;
const directoryOf = (repository: string) =>
  new Promise<string | undefined>((resolve) => {
    const id = questions++;
    asked.set(id, resolve);
    say({ type: 'open', id, repository });
  });

const registry = createRegistryHandler(
  {
    resolveManifest: async () => undefined,
    openBlob: async () => undefined,
    uploads: {
      accept: async (repository) => (await directoryOf(repository)) !== undefined,
      async create(repository, options) {
        const directory = await directoryOf(repository);
        if (directory === undefined) throw new Error(`repository ${repository} takes nothing any more`);
        return BlobStore.at(directory).createUpload(options);
      },
      putManifest: () => Promise.reject(new Error('images are taken in by the agent itself')),
    },
  },
  { onError: (error, { path }) => say({ type: 'failed', message: messageOf(error), path }) },
);

const server = mutualServer(tls, (peer, request, response) => {
  if (!peer.has(`DNS:${tlsNames.agent}`)) return false;
  registry(request, response);
  return true;
});

agent.on('message', (message: ToMemoryThread) => {
  switch (message.type) {
    case 'tls':
      server.setSecureContext(secure(message.tls));
      break;
    case 'directory':
      asked.get(message.id)?.(message.path);
      asked.delete(message.id);
      break;
    case 'close':
      void registry.close();
      server.close();
      server.closeAllConnections();
      agent.close();
      break;
  }
});

await listen(server, port);
say({ type: 'listening' });
