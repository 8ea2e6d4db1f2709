/** Anything with a message. Not `instanceof Error`: errors of another realm (a test's sandbox, a worker) are errors too. */
function isErrorLike(value: unknown): value is NodeJS.ErrnoException {
  return typeof value === 'object' && value !== null && typeof (value as { message?: unknown }).message === 'string';
}

/** The text of anything that was thrown, with the causes behind it: `message: cause: its cause`. */
export function messageOf(error: unknown): string {
  const parts: string[] = [];
  for (let current: unknown = error; current !== undefined && current !== null && parts.length < 5; ) {
    const text = isErrorLike(current) ? current.message || current.code || current.name : String(current);
    // Wrappers often repeat the text of their cause; say it once.
    if (!parts.some((part) => part.includes(text))) parts.push(text);
    current = isErrorLike(current) ? current.cause : undefined;
  }
  return parts.join(': ');
}

/** The `code` of a system error (`ENOENT`, `ENOSPC`) or of a library's error; the first found along the causes. */
export function codeOf(error: unknown): string | undefined {
  let current: unknown = error;
  for (let depth = 0; isErrorLike(current) && depth < 5; depth++) {
    if (typeof current.code === 'string') return current.code;
    current = current.cause;
  }
  return undefined;
}

/** Whether this is a full disk or an exhausted quota. */
export function isNoSpace(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** Whether a stream or call ended because someone stopped it (an AbortSignal, a destroyed stream), rather than by itself. */
export function isAbort(error: unknown): boolean {
  if (!isErrorLike(error)) return false;
  return error.name === 'AbortError' || error.name === 'TimeoutError' || error.code === 'ERR_STREAM_PREMATURE_CLOSE';
}
