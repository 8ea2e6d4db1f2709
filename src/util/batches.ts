import { finished, type Readable } from 'node:stream';

/** What is gathered before it is handed on, and at how much the source has to wait. Bytes. */
const least = 256 * 1024;
const most = 4 * 1024 * 1024;

/**
 * A stream's chunks, several at a time: those of a socket are small, and a promise, a hash and a write for each of them cost
 * more than the bytes. The source's error ends it; what came before that and was not handed on is lost. Who stops before the
 * end has a paused source, to be destroyed or not.
 */
export async function* batchesOf(source: Readable, signal?: AbortSignal): AsyncGenerator<Buffer[]> {
  let pending: Buffer[] = [];
  let bytes = 0;
  let end: { error: Error | undefined } | undefined;
  let wake: () => void = () => undefined;
  const onData = (chunk: Buffer) => {
    pending.push(chunk);
    bytes += chunk.length;
    if (bytes >= most) source.pause();
    if (bytes >= least) wake();
  };
  const forget = finished(source, { writable: false, ...(signal && { signal }) }, (error) => {
    end = { error: error ?? undefined };
    wake();
  });
  source.on('data', onData);
  try {
    for (;;) {
      while (bytes < least && !end)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      if (end?.error) throw signal?.aborted ? signal.reason : end.error;
      if (bytes === 0) return;
      const batch = pending;
      pending = [];
      bytes = 0;
      source.resume();
      yield batch;
    }
  } finally {
    forget();
    source.off('data', onData);
    source.pause();
  }
}
