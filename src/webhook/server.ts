import { createServer, type Server } from 'node:https';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import type { Logger } from 'pino';
import { patchOf, reviewPod } from './pods.ts';
import type { WebhookPorts } from './ports.ts';
import { parseReview, type Verdict } from './review.ts';

/**
 * The largest review that can come: an object of at most 3 MiB (what the API server takes in a request) twice, old and
 * new, and the rest; as controller-runtime's limit.
 */
const bodyLimit = 7 << 20;

/** API servers keep idle connections for 90 s; closing them earlier gives them sporadic EOFs. Milliseconds. */
const keepAlive = 95_000;

/** What of the API server's patience is kept for the answer to arrive. Milliseconds. */
const wayBack = 1000;

export interface WebhookOptions {
  ports: WebhookPorts;
  /** Time for an answer, below the timeoutSeconds of the webhook configuration. Milliseconds. */
  deadline: number;
  log: Logger;
  onReview?: (operation: string, outcome: string, seconds: number) => void;
}

/** The express application: `POST /mutate-pods` answers AdmissionReviews, whatever happens with a valid one. */
export function webhookApp({ ports, deadline, log, onReview }: WebhookOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(express.json({ limit: bodyLimit, type: () => true }));
  app.post('/mutate-pods', async (request, response) => {
    const started = performance.now();
    const parsed = parseReview(request.body);
    if ('problem' in parsed) {
      log.warn({ problem: parsed.problem }, 'not an AdmissionReview');
      response
        .status(parsed.uid ? 200 : 400)
        .json(
          parsed.uid
            ? answer(parsed.uid, { allow: false, code: 400, reason: 'BadRequest', message: `podferry: ${parsed.problem}` })
            : { error: parsed.problem },
        );
      return;
    }
    const review = parsed.request;
    let verdict: Verdict;
    try {
      verdict = await reviewPod(ports, review, AbortSignal.timeout(timeFor(request.query.timeout, deadline)));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      log.error({ error: message, operation: review.operation, namespace: review.namespace, name: review.name }, 'a review failed');
      verdict = { allow: false, code: 500, reason: 'InternalError', message: `podferry could not decide about the pod: ${message}` };
    }
    const outcome = verdict.allow ? (verdict.pod ? 'changed' : 'passed') : 'refused';
    onReview?.(review.operation, outcome, (performance.now() - started) / 1000);
    if (outcome !== 'passed')
      log.info(
        {
          operation: review.operation,
          namespace: review.namespace,
          name: review.object?.metadata.name,
          user: review.userInfo.username,
          outcome,
          verdict: verdict.allow ? undefined : verdict.message,
        },
        'reviewed a pod',
      );
    response.json(answer(review.uid, verdict, review.object ?? undefined));
  });
  app.use((error: Error & { status?: number; type?: string }, _request: Request, response: Response, _next: NextFunction) => {
    const status = error.status ?? 500;
    log.warn({ status, type: error.type, error: error.message }, 'a request could not be read');
    response.status(status).json({ error: error.message });
  });
  return app;
}

/** The API server says how long it waits (`?timeout=10s`, the webhook's timeoutSeconds); some of it is left for the way back. Milliseconds. */
function timeFor(asked: unknown, deadline: number): number {
  const seconds = typeof asked === 'string' ? Number(/^(\d+)s$/.exec(asked)?.[1]) : Number.NaN;
  return Number.isNaN(seconds) ? deadline : Math.min(deadline, Math.max(500, seconds * 1000 - wayBack));
}

function answer(uid: string, verdict: Verdict, object?: Parameters<typeof patchOf>[0]) {
  const response: Record<string, unknown> = { uid, allowed: verdict.allow };
  if (verdict.allow) {
    if (verdict.warnings?.length) response.warnings = verdict.warnings;
    const patch = verdict.pod && object ? patchOf(object, verdict.pod) : [];
    if (patch.length) {
      response.patchType = 'JSONPatch';
      response.patch = Buffer.from(JSON.stringify(patch)).toString('base64');
    }
  } else {
    const { code, reason, message, retryAfterSeconds } = verdict;
    response.status = { code, reason, message, ...(retryAfterSeconds ? { details: { retryAfterSeconds } } : {}) };
  }
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response };
}

export function webhookServer(app: Express, tls: { cert: string; key: string }): Server {
  const server = createServer({ ...tls, minVersion: 'TLSv1.2' }, app);
  server.keepAliveTimeout = keepAlive;
  server.headersTimeout = keepAlive + 1000;
  return server;
}
