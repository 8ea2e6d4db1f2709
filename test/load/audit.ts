import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { podferryUsers } from './cluster.ts';

interface AuditEvent {
  stage: string;
  requestURI: string;
  verb: string;
  user: { username: string };
  userAgent?: string;
  objectRef?: { resource: string; subresource?: string };
  responseStatus?: { code?: number };
  requestReceivedTimestamp: string;
}

export interface Requests {
  /** `controller get pods` → how many. */
  counts: Record<string, number>;
  /** Those that were answered with an error other than 404 and 409: `controller get pods 500`. */
  errors: Record<string, number>;
  /** Lists (whole ones, not their further pages): when, what. */
  lists: { at: number; what: string }[];
}

/** What podferry's processes asked of the API server between two moments (milliseconds since the epoch), from its audit log. */
export async function requestsIn(file: string, from: number, to: number): Promise<Requests> {
  const requests: Requests = { counts: {}, errors: {}, lists: [] };
  const names = new Map(Object.entries(podferryUsers).map(([name, user]) => [user, name]));
  for await (const line of createInterface({ input: createReadStream(file) })) {
    const event = parsed(line);
    const name = names.get(event?.user.username ?? '');
    if (!event || name === undefined || (event.stage !== 'ResponseComplete' && event.verb !== 'watch')) continue;
    // A watch that ended is counted when it began.
    if (event.verb === 'watch' && event.stage !== 'ResponseStarted') continue;
    const at = Date.parse(event.requestReceivedTimestamp);
    if (at < from || at > to) continue;
    const { resource = event.requestURI, subresource } = event.objectRef ?? {};
    const what = `${name} ${event.verb} ${resource}${subresource ? `/${subresource}` : ''}`;
    requests.counts[what] = (requests.counts[what] ?? 0) + 1;
    const { code = 0 } = event.responseStatus ?? {};
    if (code >= 400 && code !== 404 && code !== 409) requests.errors[`${what} ${code}`] = (requests.errors[`${what} ${code}`] ?? 0) + 1;
    if (event.verb === 'list' && !event.requestURI.includes('continue=')) requests.lists.push({ at, what });
  }
  return requests;
}

/** The last line may be half written. */
function parsed(line: string): AuditEvent | undefined {
  try {
    return JSON.parse(line) as AuditEvent;
  } catch {
    return undefined;
  }
}
