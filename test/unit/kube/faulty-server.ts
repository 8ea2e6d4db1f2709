import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface Item {
  metadata: { name: string; namespace: string; uid: string; resourceVersion: string };
  value: number;
}

/** What is to go wrong with one request. */
export type Fault =
  /** The connection is reset before an answer. */
  | 'reset'
  /** Nothing is answered, ever. */
  | 'hang'
  | 'gone'
  | 'unavailable'
  /** 200 and a body that is no JSON. */
  | 'garbage'
  /** Watch: an event is cut in the middle, then the connection ends cleanly. */
  | 'half-line'
  /** Watch: the connection is reset after the events so far. */
  | 'reset-later'
  /** Watch: the stream ends at once. */
  | 'end'
  /** Watch: 200, and then an ERROR event that says 410. */
  | 'gone-inside'
  /** Watch: answers, and then is silent although things happen. */
  | 'silent';

/**
 * As much of an API server as list and watch of one resource need, and faults on request. The real one is in
 * test/integration; it cannot be told when to fail and how.
 */
export class FaultyServer {
  /** Taken one a request; none left: all is well. */
  readonly listFaults: Fault[] = [];
  readonly watchFaults: Fault[] = [];
  readonly requests: string[] = [];
  readonly #items = new Map<string, Item>();
  readonly #log: { version: number; type: string; object: Item }[] = [];
  readonly #watchers = new Set<{ response: ServerResponse; silent: boolean }>();
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #version = 1;
  #oldest = 0;

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, 'close');
  }

  get openWatches(): number {
    return this.#watchers.size;
  }

  items(): Item[] {
    return [...this.#items.values()];
  }

  set(name: string, value: number): void {
    const before = this.#items.get(name);
    this.#version++;
    const uid = before?.metadata.uid ?? `uid-${this.#version}`;
    const object = { metadata: { name, namespace: 'test', uid, resourceVersion: String(this.#version) }, value };
    this.#items.set(name, object);
    this.#happened(before ? 'MODIFIED' : 'ADDED', object);
  }

  delete(name: string): void {
    const before = this.#items.get(name);
    if (!before) return;
    this.#version++;
    this.#items.delete(name);
    this.#happened('DELETED', { ...before, metadata: { ...before.metadata, resourceVersion: String(this.#version) } });
  }

  bookmark(): void {
    const object = { metadata: { resourceVersion: String(++this.#version) } };
    for (const { response } of this.#watchers) response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  /** Forgets what happened: whoever watches from before gets 410. */
  compact(): void {
    this.#oldest = this.#version;
    this.#log.length = 0;
  }

  /** Resets every watch. */
  cut(): void {
    for (const { response } of this.#watchers) response.socket?.resetAndDestroy();
  }

  #happened(type: string, object: Item): void {
    this.#log.push({ version: this.#version, type, object });
    for (const { response, silent } of this.#watchers) if (!silent) response.write(`${JSON.stringify({ type, object })}\n`);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const watching = url.searchParams.get('watch') === 'true';
    this.requests.push(watching ? `watch ${url.searchParams.get('resourceVersion')}` : 'list');
    const fault = (watching ? this.watchFaults : this.listFaults).shift();
    const json = (status: number, body: object, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify(body));
    };
    const gone = { kind: 'Status', status: 'Failure', reason: 'Expired', code: 410, message: 'too old resource version' };
    switch (fault) {
      case 'reset':
        request.socket.resetAndDestroy();
        return;
      case 'hang':
        return;
      case 'gone':
        json(410, gone);
        return;
      case 'unavailable':
        json(503, { kind: 'Status', reason: 'ServiceUnavailable', message: 'starting' });
        return;
      case 'garbage':
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end('<html>a proxy says hello</html>\n');
        return;
      default:
        break;
    }
    if (!watching) {
      json(200, { kind: 'ThingList', metadata: { resourceVersion: String(this.#version) }, items: this.items() });
      return;
    }
    const from = Number(url.searchParams.get('resourceVersion'));
    if (from < this.#oldest) {
      json(410, gone);
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (fault === 'end') {
      response.end();
      return;
    }
    if (fault === 'gone-inside') {
      response.end(`${JSON.stringify({ type: 'ERROR', object: gone })}\n`);
      return;
    }
    const text = this.#log
      .filter(({ version }) => version > from)
      .map(({ type, object }) => `${JSON.stringify({ type, object })}\n`)
      .join('');
    if (fault === 'half-line') {
      response.end(text + JSON.stringify({ type: 'ADDED', object: this.items()[0] }).slice(0, 30));
      return;
    }
    // In pieces that care for no line and no character, as networks do it.
    const bytes = Buffer.from(text);
    if (fault !== 'silent') for (let at = 0; at < bytes.length; at += 7) response.write(bytes.subarray(at, at + 7));
    if (fault === 'reset-later') {
      setTimeout(() => request.socket.resetAndDestroy(), 20);
      return;
    }
    const watcher = { response, silent: fault === 'silent' };
    this.#watchers.add(watcher);
    response.once('close', () => this.#watchers.delete(watcher));
  }
}
