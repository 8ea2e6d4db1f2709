/** Runs parts of one thing at the same time: the first that fails ends the others, and nothing goes on after this. */
export async function together<Values extends unknown[]>(
  signal: AbortSignal,
  begin: (stop: AbortSignal) => readonly [...{ [Part in keyof Values]: Promise<Values[Part]> }],
): Promise<Values> {
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  let first: { error: unknown } | undefined;
  try {
    const values = await Promise.all(
      begin(stop.signal).map((part) =>
        part.catch((error: unknown) => {
          first ??= { error };
          stop.abort(error);
        }),
      ),
    );
    if (first) throw first.error;
    return values as Values;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
