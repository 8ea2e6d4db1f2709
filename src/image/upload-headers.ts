/** What podferry's registries say to each other beyond the distribution specification; others ignore it. */

/** Of the answer to a PATCH: `sha256:…` of all that the upload holds so far, so that the client need not hash it too. */
export const uploadDigestHeader = 'x-podferry-upload-digest';

/** Of the closing PUT: CRC-32 of the content as it left the disk it was read from, in decimal digits. */
export const checksumHeader = 'x-podferry-crc32';

/**
 * Of the answer to the POST that begins an upload: that its PATCHes may be frames of pages (`page-frames.ts`), and what their
 * payloads may be compressed with: `zstd, gzip`.
 */
export const pagesHeader = 'x-podferry-pages';
