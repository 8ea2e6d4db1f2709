/**
 * How far into what the C library hands out content begins that the kernel copies. It hands out large memory 16 bytes into a
 * page, where copying takes AMD's processors three times as long (ADR 13). Bytes.
 */
export const bulkOffset = 496;

/** Memory for reading much of a file into, not filled. */
export function bulkBuffer(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(bulkOffset + bytes).subarray(bulkOffset);
}
