/** metav1.Time: RFC 3339 in UTC, whole seconds. */
export function metaTime(at: Date): string {
  return at.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** metav1.MicroTime: RFC 3339 in UTC, with microseconds. */
export function microTime(at: Date = new Date()): string {
  return at.toISOString().replace('Z', '000Z');
}
