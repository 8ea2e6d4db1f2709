/**
 * How far from the start of what the C library hands out content that the kernel copies is to begin. It hands out large memory
 * 16 bytes into a page (its own header is before it), and `rep movsb`, with which the kernel copies, is slow on AMD's processors where
 * the destination's place in its page is close to the source's, which is at a page's start: reading a file of the page cache took
 * 3.2 times as long at 16 bytes on the machine this was measured on, and up to 2 times below that on others (glibc bug 30994). Bytes.
 */
export const bulkOffset = 496;

/** Memory for reading much of a file into, not filled. */
export function bulkBuffer(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(bulkOffset + bytes).subarray(bulkOffset);
}
