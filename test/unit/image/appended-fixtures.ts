import type { RequestListener } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AppendedSource } from '../../../src/image/appended.ts';
import { pagesType } from '../../../src/image/page-frames.ts';
import { pagesHeader } from '../../../src/image/upload-headers.ts';

/** Content of which only the first part is there at first. */
export function growing(content: Buffer, first: number): AppendedSource & { grow(to: number): void; reads: number } {
  let there = first;
  return {
    reads: 0,
    grow: (to) => {
      there = to;
    },
    async available(position, signal) {
      while (position >= there && there < content.length) await sleep(5, undefined, { ...(signal && { signal }) });
      return there - position;
    },
    async read(buffer, position) {
      this.reads++;
      return content.copy(buffer, 0, position, Math.min(there, position + buffer.length));
    },
  };
}

/** A registry whose connections break while so many requests have got through `after` bytes each. */
export function breaking(times: number, after: number): (handler: RequestListener) => RequestListener {
  let left = times;
  return (handler) => (request, response) => {
    if (request.method === 'PATCH' && left > 0) {
      let seen = 0;
      const onData = (chunk: Buffer) => {
        seen += chunk.length;
        if (seen < after || left === 0) return;
        left--;
        request.off('data', onData);
        request.socket.destroy();
      };
      request.on('data', onData);
    }
    handler(request, response);
  };
}

/** A registry as podferry's were before they knew frames of pages. */
export function knowingNoPages(handler: RequestListener): RequestListener {
  return (request, response) => {
    const { writeHead } = response;
    response.writeHead = ((status: number, headers: Record<string, string>) => {
      const { [pagesHeader]: _, ...rest } = headers;
      return writeHead.call(response, status, rest);
    }) as typeof writeHead;
    if (request.headers['content-type'] === pagesType) response.writeHead(500).end();
    else handler(request, response);
  };
}
