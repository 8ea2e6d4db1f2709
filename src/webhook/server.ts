import { createServer, type Server } from 'node:https';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import type { Logger } from 'pino';
import { type EvictionPorts, parseEviction, reviewEviction } from './evictions.ts';
import { patchOf, reviewPod } from './pods.ts';
import type { WebhookPorts } from './ports.ts';
import { later, parseReview, type Verdict } from './review.ts';
import { parseWorkload, reviewWorkload } from './workloads.ts';

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
  evictions: EvictionPorts;
  /** Time for an answer, below the timeoutSeconds of the webhook configuration. Milliseconds. */
  deadline: number;
  log: Logger;
  /** Whether this replica is about to end: connections are then closed with the next answer, at a moment when nothing is under way. */
  ending?: () => boolean;
  onReview?: (operation: string, outcome: string, seconds: number) => void;
}

/**
 * The express application: `POST /mutate-pods`, `/validate-evictions` and `/warn-workloads` answer AdmissionReviews, whatever happens
 * with a valid one.
 */
export function webhookApp({ ports, evictions, deadline, log, ending, onReview }: WebhookOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use((_request, response, next) => {
    if (ending?.()) response.set('Connection', 'close');
    next();
  });
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
  app.post('/validate-evictions', async (request, response) => {
    const started = performance.now();
    const parsed = parseEviction(request.body);
    if ('problem' in parsed) {
      log.warn({ problem: parsed.problem }, 'not an AdmissionReview of an eviction');
      response.status(400).json({ error: parsed.problem });
      return;
    }
    const { namespace, name, userInfo, uid } = parsed.request;
    let verdict: Verdict;
    try {
      verdict = await reviewEviction(evictions, parsed.request, AbortSignal.timeout(timeFor(request.query.timeout, deadline)));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      log.error({ error: message, namespace, name }, 'a review of an eviction failed');
      // Not 500: who evicts asks again, and a pod with its memory is not given up for an error of ours.
      verdict = later(`podferry could not decide about the pod yet: ${message}`);
    }
    onReview?.('EVICT', verdict.allow ? 'passed' : 'refused', (performance.now() - started) / 1000);
    log.info({ namespace, name, user: userInfo.username, verdict: verdict.allow ? 'evicted' : verdict.message }, 'reviewed an eviction');
    response.json(answer(uid, verdict));
  });
  app.post('/warn-workloads', async (request, response) => {
    const started = performance.now();
    const parsed = parseWorkload(request.body);
    if ('problem' in parsed) {
      log.warn({ problem: parsed.problem }, 'not an AdmissionReview of a workload');
      response.status(400).json({ error: parsed.problem });
      return;
    }
    const { uid, operation } = parsed.request;
    const verdict = await reviewWorkload(ports, parsed.request, AbortSignal.timeout(timeFor(request.query.timeout, deadline)));
    onReview?.(operation, 'passed', (performance.now() - started) / 1000);
    response.json(answer(uid, verdict));
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
