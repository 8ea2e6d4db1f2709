import type { Server } from 'node:https';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import type { Logger } from 'pino';
import type { AgentRecords, NodeCpu, SourceRequest, TargetRequest } from '../api/agent.ts';
import { tlsNames } from '../api/agent.ts';
import type { RegistryHandler } from '../image/registry-server.ts';
import { messageOf } from '../util/errors.ts';
import { type AgentTls, mutualServer } from './mutual-tls.ts';
import type { SourceKeeper } from './source.ts';
import type { TargetKeeper } from './target.ts';

/** Longest wait that a caller may ask for. Milliseconds. */
const longestWait = 60_000;

/** The controller's way in: goals are set (PUT), views are read (GET, with `revision` and `wait` for the next change), records removed (DELETE). */
export function agentApi(sources: SourceKeeper, targets: TargetKeeper, cpu: () => Promise<NodeCpu>, log: Logger): Express {
  const app = express();
  app.disable('x-powered-by');
  app.param('uid', (_request, response, next, uid: string) => {
    if (/^[0-9a-f-]{36}$/.test(uid)) next();
    else response.status(400).json({ error: `${JSON.stringify(uid)} is not the uid of a Migration` });
  });
  app.use(express.json({ limit: 1 << 20 }));

  app.get('/v1/records', (_request, response) => {
    response.json({ sources: sources.list(), targets: targets.list() } satisfies AgentRecords);
  });
  app.get('/v1/cpu', async (_request, response) => {
    response.json(await cpu());
  });
  for (const [path, keeper] of [
    ['/v1/sources/:uid', sources],
    ['/v1/targets/:uid', targets],
  ] as const) {
    app.get(path, async (request, response) => {
      const { revision, wait } = request.query;
      const limit = Math.min(Number(wait ?? 0) || 0, longestWait);
      const uid = request.params.uid as string;
      response.json(limit > 0 ? await keeper.wait(uid, Number(revision), limit, goneSignal(response)) : keeper.view(uid));
    });
    app.delete(path, async (request, response) => {
      await keeper.forget(request.params.uid as string);
      response.status(204).end();
    });
  }
  app.put('/v1/sources/:uid', async (request, response) => {
    response.json(await sources.set(request.params.uid, request.body as SourceRequest));
  });
  app.put('/v1/targets/:uid', async (request, response) => {
    response.json(await targets.set(request.params.uid, request.body as TargetRequest, goneSignal(response)));
  });

  app.use((error: Error & { status?: number }, request: Request, response: Response, _next: NextFunction) => {
    log.error({ method: request.method, path: request.path, error: messageOf(error) }, 'a call of the controller failed');
    if (!response.headersSent) response.status(error.status ?? 500).json({ error: messageOf(error) });
  });
  return app;
}

/** Aborts when whoever asked has gone. */
function goneSignal(response: Response): AbortSignal {
  const gone = new AbortController();
  response.on('close', () => gone.abort(new Error('the caller has gone')));
  return gone.signal;
}

/** The controller sets goals (`/v1`), other agents push checkpoints (`/v2`). */
export function agentServer(api: Express, push: RegistryHandler, tls: AgentTls): Server {
  return mutualServer(tls, (peer, request, response) => {
    const path = request.url ?? '';
    if (path.startsWith('/v1/') && peer.has(`DNS:${tlsNames.controller}`)) api(request as Request, response as Response);
    else if (path.startsWith('/v2/') && peer.has(`DNS:${tlsNames.agent}`)) push(request, response);
    else return false;
    return true;
  });
}
