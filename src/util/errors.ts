/** The text of anything that was thrown, with the causes behind it: `message: cause: its cause`. */
export function messageOf(error: unknown): string {
  const parts: string[] = [];
  for (let current: unknown = error; current !== undefined && parts.length < 5; ) {
    const text = current instanceof Error ? current.message || current.name : String(current);
    // Wrappers often repeat the text of their cause; say it once.
    if (!parts.some((part) => part.includes(text))) parts.push(text);
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join(': ');
}

/** The `code` of a system error (`ENOENT`, `ENOSPC`) or of a library's error; the first found along the causes. */
export function codeOf(error: unknown): string | undefined {
  let current: unknown = error;
  for (let depth = 0; current instanceof Error && depth < 5; depth++) {
    const code = (current as NodeJS.ErrnoException).code;
    if (typeof code === 'string') return code;
    current = current.cause;
  }
  return undefined;
}

/** Whether this is a full disk or an exhausted quota. */
export function isNoSpace(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}
